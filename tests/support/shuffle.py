"""How well an epoch plan shuffles: measures of its order, and what a perfect permutation would give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mricore.data.plan import EpochPlan, Indices


def steps_of(plan: EpochPlan, rows_per_group: Indices) -> Indices:
    """The step that feeds each stored slice, in stored order, shape (slices,)."""
    firsts = np.cumsum(rows_per_group) - rows_per_group
    found = np.full(int(rows_per_group.sum()), -1, np.int64)
    for lane in range(plan.lanes):
        for window in plan.windows(lane):
            steps = np.repeat(np.arange(len(window.offsets) - 1), np.diff(window.offsets))
            found[firsts[window.groups] + window.rows] = window.first_step + steps
    return found


def neighbours(slices: int, per_volume: int, shuffled: np.random.Generator | None) -> tuple[Indices, Indices]:
    """Where pairs of adjacent slices of a volume are stored.

    In order, volume by volume, or globally shuffled as curation does it.
    """
    first = np.flatnonzero(np.arange(slices - 1) % per_volume != per_volume - 1)
    where = np.arange(slices) if shuffled is None else shuffled.permutation(slices)
    return where[first], where[first + 1]


def met(steps: Indices, pairs: tuple[Indices, Indices]) -> int:
    """Number of pairs that meet in a batch."""
    return int((steps[pairs[0]] == steps[pairs[1]]).sum())


def meeting_chance(steps: Indices) -> float:
    """The chance that two slices meet in a batch of a perfect permutation: sum of n(n-1) over N(N-1)."""
    sizes = np.bincount(steps)
    return float((sizes * (sizes - 1)).sum() / (len(steps) * (len(steps) - 1)))


def groups_per_batch(steps: Indices, rows_per_group: Indices) -> float:
    """Mean number of row groups that a batch comes from."""
    group = np.repeat(np.arange(len(rows_per_group)), rows_per_group)
    return len(np.unique(steps * len(rows_per_group) + group)) / (int(steps.max()) + 1)


def correlation(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Of the order of two epochs: 1 if it is the same, 0 if one tells nothing of the other."""
    return float(np.corrcoef(one, other)[0, 1])
