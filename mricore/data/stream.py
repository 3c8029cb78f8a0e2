"""From an epoch plan to the batches of one worker.

Two sources with the same order and the same bytes: Ray Data tasks anywhere in the cluster, or a thread
of the worker's own process. Both fetch whole windows of a lane; the assembly into steps is shared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mricore.config.schema import Data, Normalization
from mricore.data.batch import FULL_SCALE, Batch, Image, Slices
from mricore.data.manifest import Manifest
from mricore.data.plan import EpochPlan, Indices, Window
from mricore.data.shards import read_rows
from mricore.data.storage import Place
from mricore.imaging.intensity import normalize
from mricore.records import SliceRecord


class BatchSource(Protocol):
    """Feeds one worker."""

    def steps(self, epoch: int) -> int:
        """Number of steps of an epoch; the same for all workers."""
        ...

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Batches of an epoch from ``first_step`` on."""
        ...


WindowReader = Callable[[Sequence[Window]], Iterator[Slices]]
"""Reads windows in the order given: the only thing in which the two sources differ."""


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
            [rows for _, _, rows in self.manifest.row_groups],
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
        # windows of the same steps stand together, lane by lane
        rounds = list(zip(*(plan.windows(lane, first_step) for lane in lanes), strict=True))
        slices = self.read([window for windows in rounds for window in windows])
        for windows in rounds:
            contents = [next(slices) for _ in windows]
            for number in range(len(windows[0].offsets) - 1):
                yield self._batch(plan, epoch, windows, contents, number)

    def _batch(
        self, plan: EpochPlan, epoch: int, windows: Sequence[Window], contents: Sequence[Slices], number: int
    ) -> Batch:
        """Step ``number`` of a round of windows, lanes in ascending order."""
        step = windows[0].first_step + number
        sizes = plan.lane_sizes(step)
        ends = np.cumsum(sizes)
        images: list[Image] = []
        ids: list[str] = []
        positions: list[Indices] = []
        for window, content in zip(windows, contents, strict=True):
            part = slice(int(window.offsets[number]), int(window.offsets[number + 1]))
            images += content.images[part]
            ids += content.ids[part]
            positions.append(np.arange(ends[window.lane] - sizes[window.lane], ends[window.lane]))
        counts = tuple(int(sizes[rank :: self.workers].sum()) for rank in range(self.workers))
        return Batch(epoch, step, Slices(images, ids), np.concatenate(positions), int(ends[-1]), counts)


def image_of(record: SliceRecord, mode: Normalization) -> Image:
    """A slice as it is fed."""
    return np.rint(normalize(record, mode) * FULL_SCALE).astype(np.uint16)


def read_window(
    dataset: Place, groups: Sequence[tuple[str, int, int]], settings: Data, window: Window
) -> Slices:
    """Fetch, decode and normalise the slices of a window; each row group is read once.

    Raises:
        UserError: a shard is missing or damaged.
    """
    images: dict[int, Image] = {}
    ids: dict[int, str] = {}
    wanted: dict[int, list[int]] = defaultdict(list)
    for place_in_window, group in enumerate(window.groups):
        wanted[int(group)].append(place_in_window)
    for group, places in wanted.items():
        path, index, _ = groups[group]
        records = read_rows(dataset, path, index, [int(window.rows[i]) for i in places])
        for i, record in zip(places, records, strict=True):
            images[i] = image_of(record, settings.normalization)
            ids[i] = record.slice_id
    return Slices([images[i] for i in range(len(images))], [ids[i] for i in range(len(ids))])
