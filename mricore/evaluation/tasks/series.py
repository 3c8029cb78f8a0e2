"""The slices of a DICOM series with real intensities, in order of their place in the patient.

Nothing but pixels and geometry is taken from the headers.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw
from mricore.evaluation.tasks.volume import Spacing
from mricore.imaging.geometry import distance_along, normal
from mricore.imaging.headers import FrameHeader, read_file
from mricore.imaging.intensity import histogram, without_padding
from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
from mricore.imaging.volumes import SAME_ORIENTATION, SAME_PLACE, SAME_SPACING
from mricore.records import Reason

_UNEVEN = 0.1
"""Distances of neighbouring slices may differ by this part of their median."""


@dataclass(frozen=True, repr=False)
class Placed:
    """A slice with its real intensities; ``file`` counts the files of the series."""

    header: FrameHeader
    pixels: NDArray[Any]
    place: float
    file: int


def read_series(paths: Sequence[Path]) -> list[Placed]:
    """The slices of some files; files that are no DICOM are passed over.

    Raises:
        CaseRefusedError: a file is damaged or no MR image, or there is none.
    """
    slices = [one for number, path in enumerate(paths) for one in _slices(path, number)]
    if not slices:
        raise CaseRefusedError(Flaw.NOT_A_VOLUME)
    return sorted(slices, key=lambda one: one.place)


def _slices(path: Path, number: int) -> list[Placed]:
    try:
        content = path.read_bytes()
        found = read_file(io.BytesIO(content), "")
        if found.refused is Reason.NOT_DICOM:
            return []
        if found.refused or found.unplaced or found.unscaled:
            raise CaseRefusedError(Flaw.UNREADABLE_IMAGE)
        frames = [image.frame for image in found.images]
        shape = found.images[0].rows, found.images[0].columns
        pixels = list(read_pixels(io.BytesIO(content), frames, shape))
    except (OSError, UnreadablePixelsError):
        raise CaseRefusedError(Flaw.UNREADABLE_IMAGE) from None
    return [
        Placed(image, _real(one, image), distance_along(normal(image.orientation), image.position), number)
        for image, one in zip(found.images, pixels, strict=True)
    ]


def _real(pixels: NDArray[Any], header: FrameHeader) -> NDArray[Any]:
    """slope * stored + intercept; stored integers themselves where that changes nothing."""
    padding = header.padding or ()
    counted = histogram(pixels, padding)
    if padding and counted.counts.size:
        pixels = without_padding(pixels, padding, counted.darkest(header.slope))
    if (header.slope, header.intercept) == (1, 0):
        return pixels
    with np.errstate(over="ignore"):  # whatever becomes infinite is refused with the case
        return (header.slope * pixels.astype(np.float64) + header.intercept).astype(np.float32)


def spacing_of(slices: Sequence[Placed]) -> Spacing:
    """Of parallel slices at even distances; the distance of a single slice is NaN.

    Raises:
        CaseRefusedError: they are not.
    """
    first = slices[0].header
    for one in slices:
        apart = [abs(a - b) for a, b in zip(one.header.orientation, first.orientation, strict=True)]
        wider = [abs(a - b) for a, b in zip(one.header.spacing, first.spacing, strict=True)]
        if max(apart) > SAME_ORIENTATION or max(wider) > SAME_SPACING:
            raise CaseRefusedError(Flaw.UNEVEN_SLICES)
    distances = np.diff([one.place for one in slices])
    if (distances < SAME_PLACE).any():
        raise CaseRefusedError(Flaw.SAME_POSITION)
    between = float(np.median(distances)) if distances.size else math.nan
    if (np.abs(distances - between) > _UNEVEN * between).any():
        raise CaseRefusedError(Flaw.UNEVEN_SLICES)
    rows, columns = first.spacing
    return between, rows, columns


def affine_of(slices: Sequence[Placed], spacing: Spacing) -> NDArray[np.float64]:
    """Where voxel (slice, row, column) lies (4, 4), in mm to right, front and head."""
    header = slices[0].header
    between, rows, columns = spacing
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(normal(header.orientation), 1.0 if math.isnan(between) else between)
    affine[:3, 1] = np.multiply(header.orientation[3:], rows)
    affine[:3, 2] = np.multiply(header.orientation[:3], columns)
    affine[:3, 3] = header.position
    affine[:2] *= -1  # DICOM counts to the left and to the back
    return affine
