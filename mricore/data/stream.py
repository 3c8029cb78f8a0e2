"""From an epoch plan to the batches of one worker.

Two sources with the same order and the same bytes: Ray Data tasks anywhere in the cluster, or threads
of the worker's own process. Both fetch whole windows of a lane; the assembly into steps is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np

from mricore.config.schema import Data, Normalization
from mricore.data.batch import Batch, Slices, unsigned
from mricore.data.manifest import Manifest
from mricore.data.plan import EpochPlan, Indices, Window, WindowKey
from mricore.data.shards import RowGroups, read_pixels
from mricore.data.storage import Place
from mricore.imaging.intensity import LIMITS, levels


class BatchSource(Protocol):
    """Feeds one worker."""

    def steps(self, epoch: int) -> int:
        """Number of steps of an epoch; the same for all workers."""
        ...

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Batches of an epoch from ``first_step`` on."""
        ...


WindowReader = Callable[[EpochPlan, Iterable[WindowKey]], Iterator[Slices]]
"""Reads windows of a plan in the order given: the only thing in which the two sources differ."""


@dataclass(frozen=True)
class PlannedSource:
    """A ``BatchSource``: plan -> windows of this worker's lanes -> reader -> steps."""

    manifest: Manifest
    settings: Data
    seed: int
    batch_size: int
    rank: int
    workers: int
    read: WindowReader

    def plan(self, epoch: int) -> EpochPlan:
        """The plan that all workers share."""
        return EpochPlan(
            self.manifest.row_groups.rows,
            seed=self.seed,
            epoch=epoch,
            batch_size=self.batch_size,
            lanes=self.settings.lanes,
            window_steps=self.settings.window_steps,
            replacement=self.settings.replacement,
        )

    def steps(self, epoch: int) -> int:
        """Number of steps of an epoch."""
        return self.plan(epoch).steps

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Batches of an epoch from ``first_step`` on."""
        plan = self.plan(epoch)
        lanes = range(self.rank, self.settings.lanes, self.workers)
        slices = self.read(plan, chain.from_iterable(plan.rounds(lanes, first_step)))
        for keys in plan.rounds(lanes, first_step):
            contents = [_Content(key.lane, plan.offsets(key), next(slices)) for key in keys]
            for number in range(len(contents[0].offsets) - 1):
                yield self._batch(plan, keys[0].first_step + number, contents, number)

    def _batch(self, plan: EpochPlan, step: int, contents: Sequence[_Content], number: int) -> Batch:
        """Step ``number`` of a round of windows, lanes in ascending order."""
        sizes = plan.lane_sizes(step)
        ends = np.cumsum(sizes)
        fed = Slices([], [], [])
        positions: list[Indices] = []
        for lane, offsets, slices in contents:
            fed.add(slices[int(offsets[number]) : int(offsets[number + 1])])
            positions.append(np.arange(ends[lane] - sizes[lane], ends[lane]))
        counts = tuple(int(sizes[rank :: self.workers].sum()) for rank in range(self.workers))
        return Batch(plan.epoch, step, fed, np.concatenate(positions), int(ends[-1]), counts)


class _Content(NamedTuple):
    """What a window holds: its lane, where its steps begin, its slices."""

    lane: int
    offsets: Indices
    slices: Slices


@dataclass(frozen=True)
class WindowPart:
    """The slices of a window that lie in one row group: which rows, and their ``places`` in the window."""

    group: int
    rows: Indices
    places: Indices


def parts_of(window: Window) -> list[WindowPart]:
    """The parts of a window: each row group is read once."""
    order = np.argsort(window.groups, kind="stable")
    groups, starts = np.unique(window.groups[order], return_index=True)
    places = np.split(order, starts[1:]) if len(groups) else []
    return [
        WindowPart(int(group), window.rows[some], some) for group, some in zip(groups, places, strict=True)
    ]


def read_part(dataset: Place, groups: RowGroups, mode: Normalization, part: WindowPart) -> Slices:
    """Fetch and decode the slices of a part, in its order, and find their levels.

    Raises:
        UserError: a shard is missing or damaged.
    """
    of, *limits = LIMITS[mode]  # the smaller first
    columns = ("slice_id", "slope", "intercept", *(f"{of}_{limit}" for limit in limits))
    path, index, _ = groups[part.group]
    found = Slices([], [], [])
    for pixels, row in read_pixels(dataset, path, index, part.rows.tolist(), columns):
        name, slope, intercept, low, high = row.values()
        image, scale = unsigned(pixels, levels(low, high, slope, intercept))
        found.images.append(image)
        found.levels.append(scale)
        found.ids.append(name)
    return found


def joined(parts: Sequence[WindowPart], contents: Sequence[Slices]) -> Slices:
    """The slices of a window in feeding order, from those of its parts."""
    together = Slices([], [], [])
    for content in contents:
        together.add(content)
    return together.in_order(np.argsort(np.concatenate([part.places for part in parts])).tolist())
