"""The epoch plan: which slice is fed when, as a pure function of (row groups, seed, epoch).

Row groups are permuted and laid end to end; the resulting sequence of N rows is cut into ``lanes`` equal
stretches; every global batch takes an equal share from every lane; inside a lane, rows are shuffled in
windows of ``window_steps`` steps. Rank r of W reads lanes r, r + W, ...: the same global batches for any
W that divides the lanes, and a rank touches only its own part of the data.

Every row is fed exactly once per epoch. There is no short last batch: N rows are spread over
ceil(N / batch_size) steps as evenly as integers allow, so a batch has at most one row per lane more than
asked for. A dataset of hardly more rows than lanes takes fewer steps, so that every lane feeds every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mricore.errors import UserError

Indices = NDArray[np.int64]


class Stream(IntEnum):
    """Separate random streams that share one seed."""

    ROW_GROUPS = 1
    WINDOW = 2
    REPLACEMENT = 3
    VIEWS = 4
    MASKS = 5
    SAMPLE = 6
    DROP_PATH = 7
    WEIGHTS = 8


def generator(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """A generator that depends on nothing but its arguments (no rank, no clock, no global state)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, *position))))


@dataclass(frozen=True)
class Window:
    """The rows that one lane feeds during a few steps.

    ``groups`` and ``rows`` (n,) address each slice as (row group of the dataset, row in the group), in
    feeding order; step ``first_step + i`` takes ``offsets[i]:offsets[i + 1]``.
    """

    lane: int
    first_step: int
    groups: Indices
    rows: Indices
    offsets: Indices


class EpochPlan:
    """Order of one epoch; see the module's docstring. Memory is O(row groups), time O(rows asked for)."""

    def __init__(
        self,
        rows_per_group: Sequence[int],
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        lanes: int,
        window_steps: int,
        replacement: bool = False,
    ) -> None:
        """Plan an epoch.

        Raises:
            UserError: fewer slices than lanes, so that some lane would be empty.
        """
        self.total = int(sum(rows_per_group))
        if self.total < lanes:
            raise UserError(
                f"the dataset has {self.total} slices, fewer than data.lanes={lanes}",
                "curate more slices or lower data.lanes",
            )
        self.seed, self.epoch, self.lanes, self.window_steps = seed, epoch, lanes, window_steps
        self.replacement = replacement
        self.steps = max(1, min(-(-self.total // batch_size), self.total // lanes))
        counts = np.asarray(rows_per_group, np.int64)
        self._order: Indices = generator(seed, Stream.ROW_GROUPS, epoch).permutation(len(counts))
        self._ends: Indices = np.cumsum(counts[self._order])
        self._starts: Indices = self._ends - counts[self._order]

    def lane_sizes(self, step: int) -> Indices:
        """Slices that each lane gives to the global batch of ``step``, shape (lanes,)."""
        lengths = self._lane_bounds[1:] - self._lane_bounds[:-1]
        return lengths * (step + 1) // self.steps - lengths * step // self.steps

    def windows(self, lane: int, first_step: int = 0) -> Iterator[Window]:
        """The windows of a lane from ``first_step`` on; the first one may begin inside a window."""
        for start in range(
            first_step // self.window_steps * self.window_steps, self.steps, self.window_steps
        ):
            yield self._window(lane, start, max(start, first_step))

    @property
    def _lane_bounds(self) -> Indices:
        return np.arange(self.lanes + 1, dtype=np.int64) * self.total // self.lanes

    def _window(self, lane: int, start: int, first_step: int) -> Window:
        """The window that begins at step ``start``, without the steps before ``first_step``."""
        bounds = self._lane_bounds
        length = int(bounds[lane + 1] - bounds[lane])
        stop = min(start + self.window_steps, self.steps)
        cuts = length * np.arange(start, stop + 1, dtype=np.int64) // self.steps
        sequence = bounds[lane] + np.arange(cuts[0], cuts[-1], dtype=np.int64)
        if self.replacement:
            draw = generator(self.seed, Stream.REPLACEMENT, self.epoch, lane, start)
            sequence = draw.integers(0, self.total, len(sequence))
        else:
            sequence = generator(self.seed, Stream.WINDOW, self.epoch, lane, start).permutation(sequence)
        offsets = cuts[first_step - start :] - cuts[first_step - start]
        sequence = sequence[len(sequence) - offsets[-1] :]
        slots = np.searchsorted(self._ends, sequence, side="right")
        return Window(lane, first_step, self._order[slots], sequence - self._starts[slots], offsets)
