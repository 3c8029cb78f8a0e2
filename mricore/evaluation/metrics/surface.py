"""Normalised surface Dice: the share of two masks' surfaces that lies near the other surface.

Defined by Nikolov et al. (arXiv:1809.04430); here, as in MONAI, a surface is the set of
mask voxels with a face neighbour outside the mask (what is outside the volume is outside the mask), and each
such voxel counts once. Deviations up to and including the tolerance are accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from mricore.evaluation.metrics.overlap import Mask, bounding_box

SLACK = 1e-6
"""Relative: 3 voxels of 0.1 mm are 0.3 mm, although the sum in floating point is a little more."""
LOOK = 4
"""Voxels along each axis within which the other surface is looked up; a search tree does the rest."""
Places = NDArray[np.int64]


def normalized_surface_dice(first: Mask, second: Mask, spacing: Sequence[float], tolerance: float) -> float:
    """Share of both surfaces within ``tolerance`` of the other one, in the unit of ``spacing``.

    Both empty: NaN; one empty: 0. An axis with one voxel is left out: a single slice has an outline, not a
    surface. Any number of axes, with one spacing each.

    Raises:
        ValueError: shapes or axes do not agree, a spacing is not above 0, or the tolerance is below 0.
    """
    _check(first, second, spacing, tolerance)
    box = bounding_box(first | second)
    if box is None:
        return math.nan
    axes = tuple(axis for axis, size in enumerate(first.shape) if size > 1) or tuple(range(first.ndim))
    scale = np.array([spacing[axis] for axis in axes])
    limit = tolerance * (1 + SLACK)
    steps, pad = _steps(scale, limit)
    surfaces = [surface(_padded(mask[box], axes, pad)) for mask in (first, second)]
    places = [np.flatnonzero(one) for one in surfaces]
    if not all(map(len, places)):
        return 0.0
    far = 0
    for own, other in ((0, 1), (1, 0)):
        left = _far(places[own], surfaces[other], steps)
        if np.any(limit / scale >= LOOK + 1):
            left = _far_by_tree(left, places[other], surfaces[0].shape, scale, limit)
        far += len(left)
    return 1 - far / sum(map(len, places))


def surface(mask: Mask) -> Mask:
    """Voxels of a mask with a face neighbour outside it; the mask must not touch the border of its array."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        body = np.moveaxis(inner, axis, 0)
        given = np.moveaxis(mask, axis, 0)
        body[1:] &= given[:-1]
        body[:-1] &= given[1:]
    return mask & ~inner


def _check(first: Mask, second: Mask, spacing: Sequence[float], tolerance: float) -> None:
    if first.shape != second.shape or first.ndim != len(spacing):
        raise ValueError(f"masks {first.shape} and {second.shape} with {len(spacing)} spacings do not fit")
    if not all(math.isfinite(one) and one > 0 for one in spacing):
        raise ValueError(f"spacing {tuple(spacing)} must be above 0")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance {tolerance} must be 0 or more")


def _steps(scale: NDArray[np.float64], limit: float) -> tuple[Places, Places]:
    """Steps (n, axes) in voxels within the limit and ``LOOK``, short ones first; their reach, at least 1."""
    reach = np.minimum(np.floor(limit / scale), LOOK).astype(np.int64)
    steps = np.indices(tuple(2 * reach + 1)).reshape(len(reach), -1).T - reach
    lengths = np.sqrt(((steps * scale) ** 2).sum(1))
    order = np.argsort(lengths, kind="stable")
    return steps[order[lengths[order] <= limit]], np.maximum(reach, 1)


def _padded(mask: Mask, axes: tuple[int, ...], pad: Places) -> Mask:
    """The mask's ``axes`` in an array that is larger by ``pad`` on all sides."""
    kept = mask.reshape([mask.shape[axis] for axis in axes])
    whole = np.zeros(kept.shape + 2 * pad, np.bool_)
    whole[tuple(slice(n, n + size) for n, size in zip(pad, kept.shape, strict=True))] = kept
    return whole


def _far(places: Places, other: Mask, steps: Places) -> Places:
    """The places from which no step leads to the other surface; one that has arrived is not asked again."""
    flat = other.ravel()
    left = places
    for jump in steps @ np.array(other.strides, np.int64):
        left = left[~flat[left + jump]]
        if not len(left):
            break
    return left


def _far_by_tree(
    places: Places, others: Places, shape: tuple[int, ...], scale: NDArray[np.float64], limit: float
) -> Places:
    """The places that are farther than the limit from all others."""
    points, targets = (np.stack(np.unravel_index(one, shape), axis=1) * scale for one in (places, others))
    distances, _ = KDTree(targets, leafsize=32).query(points)
    return places[distances > limit]
