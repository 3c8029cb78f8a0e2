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
from itertools import chain
from typing import NamedTuple

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


class WindowKey(NamedTuple):
    """Which window: of ``lane``, from step ``start`` on, without the steps before ``first_step``."""

    lane: int
    start: int
    first_step: int


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
        rows_per_group: Sequence[int] | Indices,
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
        counts = np.asarray(rows_per_group, np.int64)
        self.total = int(counts.sum())
        if self.total < lanes:
            raise UserError(
                f"the dataset has {self.total} slices, fewer than data.lanes={lanes}",
                "curate more slices or lower data.lanes",
            )
        self.seed, self.epoch, self.lanes, self.window_steps = seed, epoch, lanes, window_steps
        self.replacement = replacement
        self.steps = max(1, min(-(-self.total // batch_size), self.total // lanes))
        self._order: Indices = generator(seed, Stream.ROW_GROUPS, epoch).permutation(len(counts))
        self._ends: Indices = np.cumsum(counts[self._order])
        self._bounds: Indices = np.arange(lanes + 1, dtype=np.int64) * self.total // lanes

    def lane_sizes(self, step: int) -> Indices:
        """Slices that each lane gives to the global batch of ``step``, shape (lanes,)."""
        lengths = np.diff(self._bounds)
        return lengths * (step + 1) // self.steps - lengths * step // self.steps

    def rounds(self, lanes: Sequence[int], first_step: int = 0) -> Iterator[list[WindowKey]]:
        """Windows of some lanes that belong to the same steps, from ``first_step`` on.

        Those of the first round may begin inside a window.
        """
        if first_step >= self.steps:
            return
        first_start = first_step // self.window_steps * self.window_steps
        for start in range(first_start, self.steps, self.window_steps):
            yield [WindowKey(lane, start, max(start, first_step)) for lane in lanes]

    def windows(self, lane: int, first_step: int = 0) -> Iterator[Window]:
        """The windows of a lane from ``first_step`` on."""
        return map(self.window, chain.from_iterable(self.rounds([lane], first_step)))

    def offsets(self, key: WindowKey) -> Indices:
        """Where the steps of a window begin among its rows, and the number of its rows."""
        cuts = self._cuts(key)[key.first_step - key.start :]
        return cuts - cuts[0]

    def window(self, key: WindowKey) -> Window:
        """The rows of a window."""
        cuts, offsets = self._cuts(key), self.offsets(key)
        position = self.epoch, key.lane, key.start
        if self.replacement:
            draw = generator(self.seed, Stream.REPLACEMENT, *position)
            sequence = draw.integers(0, self.total, cuts[-1] - cuts[0])
        else:
            sequence = self._bounds[key.lane] + np.arange(cuts[0], cuts[-1], dtype=np.int64)
            sequence = generator(self.seed, Stream.WINDOW, *position).permutation(sequence)
        sequence = sequence[len(sequence) - offsets[-1] :]
        slots = np.searchsorted(self._ends, sequence, side="right")
        starts = np.where(slots > 0, self._ends[slots - 1], 0)
        return Window(key.lane, key.first_step, self._order[slots], sequence - starts, offsets)

    def _cuts(self, key: WindowKey) -> Indices:
        """Where the steps of a whole window begin in its lane, and where its last one ends."""
        stop = min(key.start + self.window_steps, self.steps)
        length = int(self._bounds[key.lane + 1] - self._bounds[key.lane])
        return length * np.arange(key.start, stop + 1, dtype=np.int64) // self.steps
