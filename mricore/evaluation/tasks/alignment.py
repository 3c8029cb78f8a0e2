"""A mask in the patient's coordinates -> the grid of an image whose axes lie otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw
from mricore.evaluation.tasks.nifti import SAME_PLACE, Stored, corners


def on_grid(
    mask: Stored, affine: NDArray[np.float64], shape: tuple[int, ...], check_geometry: bool
) -> NDArray[Any]:
    """The mask with its axes permuted and flipped so that it lies on a grid; nothing is resampled.

    ``affine`` (4, 4) and ``shape`` (3,) are the grid's, in mm to right, front and head. Without
    ``check_geometry`` the two need not begin at the same place.

    Raises:
        CaseRefusedError: the voxels of the two are not the same.
    """
    if not np.linalg.det(affine[:3, :3]):
        raise CaseRefusedError(Flaw.OTHER_GEOMETRY)
    change = np.linalg.inv(mask.affine) @ affine
    steps = np.rint(change[:3, :3])
    if not (np.abs(steps).sum(0) == 1).all() or not (np.abs(steps).sum(1) == 1).all():
        raise CaseRefusedError(Flaw.OTHER_GEOMETRY)
    axes = np.abs(steps).argmax(0)
    moved = mask.array.transpose(axes)
    if moved.shape != shape:
        raise CaseRefusedError(Flaw.OTHER_SHAPE)
    backwards = tuple(axis for axis in range(3) if steps[axes[axis], axis] < 0)
    if check_geometry:
        first = np.zeros(3)
        first[axes[list(backwards)]] = [shape[axis] - 1 for axis in backwards]
        _require_same_corners(change, np.column_stack([steps, first]), shape)
    return np.flip(moved, backwards)


def _require_same_corners(
    change: NDArray[np.float64], whole: NDArray[np.float64], shape: tuple[int, ...]
) -> None:
    """``whole`` (3, 4) maps voxels to voxels exactly; ``change`` must do the same, within ``SAME_PLACE``."""
    if np.abs((change[:3] - whole) @ corners(shape)).max() > SAME_PLACE:
        raise CaseRefusedError(Flaw.OTHER_GEOMETRY)
