"""The two window readers: Ray Data tasks, or threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import ray

from mricore.config.schema import Data
from mricore.data import tasks
from mricore.data.batch import Slices
from mricore.data.manifest import Manifest
from mricore.data.plan import EpochPlan, WindowKey
from mricore.data.shards import RowGroups
from mricore.data.storage import Place
from mricore.data.stream import WindowPart, WindowReader, joined, parts_of, read_part

PREFETCHED_BYTES = 1024**3
"""Decoded slices that wait for a worker in its own process, beside those that it is being fed."""
TASK_BYTES = 64 * 1024**2
"""Decoded slices that wait in a Ray task."""
BLOCK_BYTES = 16 * 1024**2
"""Decoded slices that a Ray task hands over at a time. A small object store spills some of larger blocks to
the disk, the first batch comes later, and all takes up to twice as long (measured: docs/log.md)."""
SLICES_PER_TASK = 4096
"""Starting a Ray task takes as long as decoding a hundred slices."""
MOST_TASKS = 256
"""Ray Data takes 2 ms per task before it starts the first one, so tasks of long epochs are larger."""
_SCHEMA = pa.schema(
    [
        ("pixels", pa.large_binary()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("zero", pa.float64()),
        ("span", pa.float64()),
        ("slice_id", pa.string()),
    ]
)
"""Decoded slices on their way from a task."""


def window_reader(dataset: Place, manifest: Manifest, settings: Data) -> WindowReader:
    """The reader that ``data.source`` names."""
    windows = Windows(dataset, manifest.row_groups, settings)
    return partial(_read_in_tasks if settings.source == "ray" else _read_in_threads, windows)


@dataclass(frozen=True)
class Windows:
    """Reads windows of a dataset with a pool of threads."""

    dataset: Place
    groups: RowGroups
    settings: Data

    def begin(self, plan: EpochPlan, key: WindowKey, pool: ThreadPoolExecutor) -> PendingWindow:
        """Have the parts of a window read."""
        parts = parts_of(plan.window(key))
        mode = self.settings.normalization
        return PendingWindow(
            parts, [pool.submit(read_part, self.dataset, self.groups, mode, part) for part in parts]
        )

    def pool(self) -> ThreadPoolExecutor:
        """Threads for it."""
        return ThreadPoolExecutor(self.settings.readers, thread_name_prefix="reader")


@dataclass(frozen=True)
class PendingWindow:
    """A window whose parts are being read."""

    parts: Sequence[WindowPart]
    contents: Sequence[Future[Slices]]

    @property
    def rows(self) -> int:
        """Number of its slices."""
        return sum(len(part.places) for part in self.parts)

    def result(self) -> Slices:
        """Its slices in feeding order, as soon as all are there."""
        return joined(self.parts, [content.result() for content in self.contents])


def _read_in_threads(
    windows: Windows, plan: EpochPlan, keys: Iterable[WindowKey], most_bytes: int = PREFETCHED_BYTES
) -> Iterator[Slices]:
    """Read ahead of the consumer, as much as fits into ``most_bytes``, but always one window.

    How large slices are is known from those that were read, so there is one window at first.
    """
    waiting: deque[PendingWindow] = deque()
    rows = most_rows = 0
    upcoming = iter(keys)
    pool = windows.pool()
    try:
        while True:
            while not waiting or rows < most_rows:
                key = next(upcoming, None)
                if key is None:
                    break
                waiting.append(windows.begin(plan, key, pool))
                rows += waiting[-1].rows
            if not waiting:
                return
            slices = waiting[0].result()
            rows -= waiting.popleft().rows
            most_rows = most_bytes * len(slices.ids) // sum(image.nbytes for image in slices.images)
            yield slices
    finally:
        pool.shutdown(cancel_futures=True)


def _read_in_tasks(windows: Windows, plan: EpochPlan, keys: Iterable[WindowKey]) -> Iterator[Slices]:
    """Read windows in Ray Data tasks of a few windows each.

    Tasks ask for no CPU and run one at a time per worker, because training workers may hold every CPU
    of a small machine and a task that asks for one would then wait for ever (measured: docs/log.md).
    """
    wanted = list(keys)
    sizes = [int(plan.offsets(key)[-1]) for key in wanted]
    tables = tasks.stream(
        lambda some: map(_packed, _read_in_threads(windows, plan, some, TASK_BYTES)),
        _grouped(wanted, sizes),
        _SCHEMA,
        block_bytes=BLOCK_BYTES,
        num_cpus=0,
        compute=ray.data.TaskPoolStrategy(size=1),
    )
    return _recut(map(_unpacked, tables), sizes)


def _grouped(keys: Sequence[WindowKey], sizes: Sequence[int]) -> list[list[WindowKey]]:
    """Neighbouring windows that one task reads, together about ``SLICES_PER_TASK`` slices, or more."""
    ends = np.cumsum(sizes)
    together = max(SLICES_PER_TASK, -(-sum(sizes) // MOST_TASKS))
    starts = np.flatnonzero(np.diff((ends - sizes) // together, prepend=-1))
    bounds = [*starts.tolist(), len(keys)]
    return [list(keys[start:stop]) for start, stop in pairwise(bounds)]


def _packed(slices: Slices) -> pa.Table:
    """Slices as a table: pixels in one piece."""
    pixels = np.concatenate([image.ravel() for image in slices.images])
    ends = np.cumsum([0, *(image.nbytes for image in slices.images)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(pixels)]
    packed = pa.Array.from_buffers(pa.large_binary(), len(slices.images), buffers)
    shapes = np.array([image.shape for image in slices.images]).T
    levels = np.array(slices.levels).T
    return pa.table([packed, *shapes, *levels, slices.ids], _SCHEMA)


def _unpacked(table: pa.Table) -> Slices:
    """The slices of a table, whose pixels are not copied and must not be written to."""
    rows, columns, zeros, spans, ids = (table[name].to_pylist() for name in _SCHEMA.names[1:])
    images = [
        np.frombuffer(pixels.as_buffer(), np.uint16).reshape(shape)
        for pixels, *shape in zip(table["pixels"], rows, columns, strict=True)
    ]
    return Slices(images, list(zip(zeros, spans, strict=True)), ids)


def _recut(pieces: Iterator[Slices], sizes: Iterable[int]) -> Iterator[Slices]:
    """The same slices in pieces of the given sizes."""
    found = Slices([], [], [])
    for size in sizes:
        while len(found.ids) < size:
            found.add(next(pieces))
        yield found[:size]
        found = found[size:]
