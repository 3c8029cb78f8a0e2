"""Metrics as the paper's published code computes them, faults included (mri_foundation at 0f4f452).

Spacing is that of voxels, so that deviations are counted in voxels of the masks given (256 x 256 there), the
tolerance is 1 voxel, and whatever is empty in both masks counts as perfect.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from mricore.evaluation.metrics.overlap import Counts, Mask
from mricore.evaluation.metrics.surface import normalized_surface_dice, surface

TOLERANCE = 1.0
"""Voxels. The paper tells none; this is the published function's default, which its script leaves alone."""
BATCH = 2
"""Slices whose voxels are counted together for 2D Dice."""
SMOOTH = 1e-6


def smooth_dice(found: Counts) -> float:
    """Dice's coefficient of counts (3), a small number added above and below: two empty masks give 1."""
    both, first, second = map(int, found)
    return (2 * both + SMOOTH) / (first + second + SMOOTH)


def voxel_surface_dice(predicted: Mask, truth: Mask) -> float:
    """Normalised surface Dice of volumes (S, R, C) in voxels, or of an outline if there is one slice.

    Both empty: 1. One empty: what the published code gets from a distance to nothing, which SciPy does not
    define. It gives distances to a point just outside the array, so that the result is 0 unless the other
    mask begins in the array's first corner.
    """
    if predicted.any() and truth.any():
        return normalized_surface_dice(predicted, truth, (1.0,) * predicted.ndim, TOLERANCE)
    found = (predicted | truth).squeeze()
    if not found.any():
        return 1.0
    outline = surface(np.pad(found, 1))[(slice(1, -1),) * found.ndim]
    distances = distance_transform_edt(np.ones(found.shape, np.bool_))
    return float((distances[outline] <= TOLERANCE).mean())
