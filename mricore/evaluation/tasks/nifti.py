"""NIfTI files: volumes as (slices, rows, columns), and masks that lie where their images lie."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from mricore.config.task import Axis, Source
from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw
from mricore.evaluation.tasks.volume import Spacing
from mricore.imaging.quiet import quiet

MOST_VOXELS = 2**30
_LONGEST_BY = 1.05
"""Voxels are longest along an axis if the next is shorter by this factor."""
SAME_PLACE = 0.1
"""Corners of image and mask may lie this part of a voxel's shortest edge apart."""
_PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of the patient that slices follow."""
_GZIP = b"\x1f\x8b"
_NIFTI_2 = 540
"""Size of the header, with which a file begins."""


@dataclass(frozen=True, repr=False)
class Stored:
    """An array of three axes as it lies in a file.

    ``affine`` (4, 4) tells where its voxels are, in mm to right, front and head.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Millimetres along each axis (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def read_nifti(path: Path, damaged: Flaw) -> Stored:
    """A volume with real intensities; integers stay integers if the file does not scale them.

    Raises:
        CaseRefusedError: it is damaged (``damaged``), no volume, or too large.
    """
    array, affine = _loaded(path, damaged)
    if array.ndim < 3 or any(size != 1 for size in array.shape[3:]) or not array.size:
        raise CaseRefusedError(Flaw.NOT_A_VOLUME)
    array = array.reshape(array.shape[:3])
    if array.dtype.kind not in "iufb" or not np.isfinite(affine).all() or not np.linalg.det(affine[:3, :3]):
        raise CaseRefusedError(damaged)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CaseRefusedError(Flaw.NOT_FINITE)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # whatever becomes infinite is refused with the case
            array = array.astype(np.float32, copy=False)
    return Stored(array, affine)


def corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The eight corner voxels of an array of three axes as homogeneous columns (4, 8)."""
    ends = np.meshgrid(*((0, size - 1) for size in shape))
    return np.stack([*(axis.ravel() for axis in ends), np.ones(8)])


def require_same_place(image: Stored, mask: Stored) -> None:
    """Make sure that the corners of both are at the same places.

    Raises:
        CaseRefusedError: they are not.
    """
    moved = (image.affine - mask.affine) @ corners(image.array.shape)
    apart = np.linalg.norm(moved[:3], axis=0).max()
    if apart > SAME_PLACE * image.spacing.min():
        raise CaseRefusedError(Flaw.OTHER_GEOMETRY)


class Layout:
    """How a stored array becomes (slices, rows, columns)."""

    def __init__(self, stored: Stored, slice_axis: Axis, by_header: bool) -> None:
        """Find the slices, and with ``by_header`` turn them as radiologists look at them.

        Raises:
            CaseRefusedError: voxels are not clearly longest along one axis, and the declaration needs that.
        """
        slices = _slice_axis(stored, slice_axis)
        across = [axis for axis in range(3) if axis != slices]
        self._flipped: tuple[int, ...] = ()
        if by_header:
            across, self._flipped = _radiological(stored, across)
        self._axes = (slices, *across)

    def applied(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the same shape as (slices, rows, columns)."""
        return np.flip(array.transpose(self._axes), self._flipped)

    def spacing(self, stored: Stored) -> Spacing:
        """Millimetres from slice to slice, row to row, column to column."""
        between, rows, columns = (float(stored.spacing[axis]) for axis in self._axes)
        return between, rows, columns

    def orientation(self, affine: NDArray[np.float64]) -> tuple[float, ...]:
        """Direction of a row, then of a column (6 cosines), in DICOM's coordinates."""
        _, rows, columns = self._axes
        along = []
        for place, axis in ((2, columns), (1, rows)):
            direction = affine[:3, axis] / np.linalg.norm(affine[:3, axis])
            direction = np.negative(direction) if place in self._flipped else direction
            along += (direction * (-1, -1, 1)).tolist()  # DICOM counts to the left and to the back
        return tuple(along)


def read_volume(
    image_path: Path, mask_path: Path, source: Source
) -> tuple[NDArray[Any], NDArray[Any], Spacing]:
    """Image and mask (slices, rows, columns) as stored, and the spacing that the header tells.

    Raises:
        CaseRefusedError: one of them cannot be used, or they do not fit each other.
    """
    image = read_nifti(image_path, Flaw.UNREADABLE_IMAGE)
    mask = read_nifti(mask_path, Flaw.UNREADABLE_MASK)
    if image.array.shape != mask.array.shape:
        raise CaseRefusedError(Flaw.OTHER_SHAPE)
    if source.check_geometry:
        require_same_place(image, mask)
    layout = Layout(image, source.slice_axis, source.turn == "header")
    return layout.applied(image.array), layout.applied(mask.array), layout.spacing(image)


@dataclass(frozen=True)
class Lie:
    """How the slices of a file lie, and its scale: real = ``slope`` * stored + ``intercept``.

    ``orientation`` is the direction of a row, then of a column before any turn, in DICOM's coordinates.
    """

    orientation: tuple[float, ...]
    slope: float
    intercept: float


def read_lie(path: Path, source: Source) -> Lie:
    """What the header tells beside the values.

    Raises:
        CaseRefusedError: the file is damaged.
    """
    try:
        with quiet():
            image = _opened(path.read_bytes())
            affine = np.asarray(image.affine, np.float64)
            slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    except Exception:  # noqa: BLE001 - readers raise almost anything on damaged bytes
        raise CaseRefusedError(Flaw.UNREADABLE_IMAGE) from None
    layout = Layout(Stored(np.empty(0), affine), source.slice_axis, source.turn == "header")
    return Lie(layout.orientation(affine), slope, intercept)


def _loaded(path: Path, damaged: Flaw) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """What a file holds, of any shape, and where its voxels lie."""
    try:
        with quiet():  # nibabel quotes bytes of the header
            image = _opened(path.read_bytes())
            large = bool(np.prod(image.shape, dtype=np.float64) > MOST_VOXELS)
            if not large:
                return np.asarray(image.dataobj), np.asarray(image.affine, np.float64)
    except MemoryError:
        large = True
    except Exception:  # noqa: BLE001 - readers raise almost anything on damaged bytes
        large = False
    raise CaseRefusedError(Flaw.TOO_LARGE if large else damaged)


def _opened(content: bytes) -> Any:
    """Whole files are unpacked at once, so that their checksum is compared."""
    plain = gzip.decompress(content) if content.startswith(_GZIP) else content
    is_second = _NIFTI_2 in (int.from_bytes(plain[:4], order) for order in ("little", "big"))
    return (nib.Nifti2Image if is_second else nib.Nifti1Image).from_bytes(plain)


def _slice_axis(stored: Stored, declared: Axis) -> int:
    if isinstance(declared, int):
        return declared
    if declared != "thickest":
        return int(np.flatnonzero(io_orientation(stored.affine)[:, 0] == _PLANES[declared])[0])
    order = np.argsort(stored.spacing)
    if stored.spacing[order[2]] < _LONGEST_BY * stored.spacing[order[1]]:
        raise CaseRefusedError(Flaw.SLICE_AXIS_UNCLEAR)
    return int(order[2])


def _radiological(stored: Stored, across: Sequence[int]) -> tuple[list[int], tuple[int, ...]]:
    """Axes of rows and columns, and which of (1, 2) to flip.

    Rows run from head to feet, or from front to back; columns from the patient's right to left, or from
    front to back. Coordinates to the right, front and head grow smaller that way.
    """
    axes, signs = io_orientation(stored.affine).T
    rows, columns = sorted(across, key=lambda axis: -axes[axis])
    return [rows, columns], tuple(place for place, axis in ((1, rows), (2, columns)) if signs[axis] > 0)
