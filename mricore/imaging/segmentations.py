"""DICOM segmentation objects: which pixels of which plane belong to which segment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from mricore.imaging.quiet import quiet

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@dataclass(frozen=True, repr=False)
class SegmentPlane:
    """One frame: number of its segment, place (DICOM's coordinates, mm), pixels (rows, columns)."""

    segment: int
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, ...]
    pixels: NDArray[np.bool_]


def is_dicom(content: bytes) -> bool:
    """Whether a file has DICOM's mark."""
    return content[128:132] == b"DICM"


def read_segmentation(content: bytes) -> list[SegmentPlane]:
    """The frames of a binary segmentation; nothing else of the file is taken.

    Raises:
        ValueError: this is no binary segmentation, or it is damaged.
    """
    with quiet(), suppress(Exception):  # damage may lead to any
        return list(_planes(pydicom.dcmread(BytesIO(content))))
    # Raised outside: the reader's message may quote the file and must not ride along.
    raise ValueError("no binary segmentation")


def _planes(file: Any) -> Iterator[SegmentPlane]:
    if file.SOPClassUID != SEGMENTATION or file.SegmentationType != "BINARY":
        raise ValueError
    pixels = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    shared = file.SharedFunctionalGroupsSequence[0]
    for frame, image in zip(file.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        segment, place, direction, measures = (
            _group(frame, shared, f"{name}Sequence")
            for name in ("SegmentIdentification", "PlanePosition", "PlaneOrientation", "PixelMeasures")
        )
        yield SegmentPlane(
            int(segment.ReferencedSegmentNumber),
            tuple(float(x) for x in direction.ImageOrientationPatient),
            tuple(float(x) for x in place.ImagePositionPatient),
            tuple(float(x) for x in measures.PixelSpacing),
            image.astype(bool),
        )


def _group(frame: Any, shared: Any, name: str) -> Any:
    """A group of attributes of a frame, or of all frames."""
    return (frame if name in frame else shared)[name][0]
