"""Overlap of masks: counts of voxels, and Dice's coefficient of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Box = tuple[slice, ...]
Counts = NDArray[np.int64]
"""(..., 3): voxels in both masks, in the first, in the second."""


def dice(first: Mask, second: Mask) -> float:
    """Dice's coefficient of two masks of one shape: NaN if both are empty, 0 if one is."""
    return dice_of(counts(first, second))


def dice_of(found: Counts) -> float:
    """Dice's coefficient of counts (3): NaN where both masks are empty, 0 where one is."""
    both, first, second = map(int, found)
    return 2 * both / (first + second) if first + second else math.nan


def counts(first: Mask, second: Mask) -> Counts:
    """Voxels in both masks, in the first and in the second: (3)."""
    return np.array([np.count_nonzero(one) for one in (first & second, first, second)], np.int64)


def slice_counts(first: Mask, second: Mask) -> Counts:
    """Counts (S, 3) of each slice of two volumes (S, R, C)."""
    return np.array([counts(*pair) for pair in zip(first, second, strict=True)], np.int64).reshape(-1, 3)


def class_counts(predicted: Labels, truth: Labels, classes: int) -> Counts:
    """Counts (classes, S, 3) of the classes 1..classes in each slice of two masks (S, R, C)."""
    found = np.zeros((classes, len(truth), 3), np.int64)
    box = bounding_box(predicted | truth)
    if box is not None:
        for label in range(1, classes + 1):
            found[label - 1, box[0]] = slice_counts(predicted[box] == label, truth[box] == label)
    return found


def bounding_box(mask: NDArray[Any]) -> Box | None:
    """The smallest box with all that is not zero; None if there is nothing."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        if not len(places):
            return None
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(box)
