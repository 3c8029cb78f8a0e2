"""A DICOM series with its mask: NIfTI, a DICOM segmentation, or a PNG for each slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.config.task import Source
from mricore.evaluation.tasks.alignment import on_grid
from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw
from mricore.evaluation.tasks.nifti import SAME_PLACE, read_nifti
from mricore.evaluation.tasks.png import read_png, stacked
from mricore.evaluation.tasks.series import Placed, affine_of, read_series, spacing_of
from mricore.evaluation.tasks.volume import Spacing
from mricore.imaging.segmentations import SegmentPlane, is_dicom, read_segmentation
from mricore.imaging.volumes import SAME_ORIENTATION

_PNG = ".png"


def read_volume(
    images: Sequence[Path], masks: Sequence[Path], source: Source
) -> tuple[NDArray[Any], NDArray[Any], Spacing]:
    """Image and mask (slices, rows, columns), and the spacing of the headers.

    ``masks`` is one file for the volume, or one for each of ``images``.

    Raises:
        CaseRefusedError: one of them cannot be used, or they do not fit each other.
    """
    slices = read_series(images)
    spacing = spacing_of(slices)
    image = stacked([one.pixels for one in slices])
    if masks[0].suffix.lower() == _PNG:
        mask = _of_slices(masks, slices)
    elif len(masks) > 1:
        raise CaseRefusedError(Flaw.UNREADABLE_MASK)
    elif (content := _content(masks[0])) is not None:
        mask = _of_segments(content, slices, spacing)
    else:
        stored = read_nifti(masks[0], Flaw.UNREADABLE_MASK)
        mask = on_grid(stored, affine_of(slices, spacing), image.shape, source.check_geometry)
    if mask.shape != image.shape:
        raise CaseRefusedError(Flaw.OTHER_SHAPE)
    return image, mask, spacing


def _of_slices(masks: Sequence[Path], slices: Sequence[Placed]) -> NDArray[Any]:
    """A PNG for each file, in order of the slices."""
    files = [one.file for one in slices]
    if len(set(files)) < len(files) or max(files) >= len(masks):
        raise CaseRefusedError(Flaw.OTHER_SHAPE)
    return stacked([read_png(masks[number], Flaw.UNREADABLE_MASK, is_mask=True) for number in files])


def _content(path: Path) -> bytes | None:
    """A DICOM file; None if it is something else."""
    try:
        content = path.read_bytes()
    except OSError:
        raise CaseRefusedError(Flaw.UNREADABLE_MASK) from None
    return content if is_dicom(content) else None


def _of_segments(content: bytes, slices: Sequence[Placed], spacing: Spacing) -> NDArray[np.int64]:
    """Numbers of segments; planes without any pixel need not be there, nor lie on a slice."""
    try:
        planes = [plane for plane in read_segmentation(content) if plane.pixels.any()]
    except ValueError:
        raise CaseRefusedError(Flaw.UNREADABLE_MASK) from None
    mask = np.zeros((len(slices), *slices[0].pixels.shape), np.int64)
    for plane in planes:
        place = mask[_slice_of(plane, slices, spacing)]
        if place.shape != plane.pixels.shape:
            raise CaseRefusedError(Flaw.OTHER_SHAPE)
        if place[plane.pixels].any():
            raise CaseRefusedError(Flaw.OVERLAP)
        place[plane.pixels] = plane.segment
    return mask


def _slice_of(plane: SegmentPlane, slices: Sequence[Placed], spacing: Spacing) -> int:
    """Which slice begins where the plane does, and lies alike."""
    header = slices[0].header
    corners = np.array([one.header.position for one in slices])
    apart = np.linalg.norm(corners - plane.position, axis=1)
    nearest = int(apart.argmin())
    turned = np.abs(np.subtract(header.orientation, plane.orientation)).max()
    larger = np.abs(np.subtract(header.spacing, plane.spacing)).max()
    nearly = SAME_PLACE * min(spacing[1:])
    if apart[nearest] > nearly or turned > SAME_ORIENTATION or larger * max(plane.pixels.shape) > nearly:
        raise CaseRefusedError(Flaw.OTHER_GEOMETRY)
    return nearest
