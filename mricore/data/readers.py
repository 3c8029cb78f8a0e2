"""The two window readers: Ray Data tasks, or a thread of this process."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray

from mricore.config.schema import Data
from mricore.data.manifest import Manifest
from mricore.data.plan import Window
from mricore.data.storage import Place
from mricore.data.stream import Slices, WindowReader, read_window

PREFETCHED_WINDOWS = 2


def window_reader(dataset: Place, manifest: Manifest, settings: Data) -> WindowReader:
    """The reader that ``data.source`` names."""
    groups = manifest.row_groups
    if settings.source == "ray":
        return lambda windows: _ray_reader(dataset, groups, settings, windows)
    return lambda windows: _thread_reader(dataset, groups, settings, windows)


def _thread_reader(
    dataset: Place, groups: list[tuple[str, int, int]], settings: Data, windows: Sequence[Window]
) -> Iterator[Slices]:
    """Read windows one ahead of the consumer in a thread."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: list[Future[Slices]] = []
        upcoming = iter(windows)
        for window in upcoming:
            waiting.append(pool.submit(read_window, dataset, groups, settings, window))
            if len(waiting) > PREFETCHED_WINDOWS:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


def _ray_reader(
    dataset: Place, groups: list[tuple[str, int, int]], settings: Data, windows: Sequence[Window]
) -> Iterator[Slices]:
    """Read windows in Ray Data tasks.

    Tasks ask for no CPU and run one at a time per worker, because training workers may hold every CPU
    of a small machine and a task that asks for one would then wait for ever (measured: docs/log.md).
    """
    if not windows:
        return

    def fetch(batch: dict[str, Any]) -> dict[str, Any]:
        loaded = [pickle.loads(item) for item in batch["window"]]  # noqa: S301 - our own bytes
        return {"slices": [pickle.dumps(read_window(dataset, groups, settings, window)) for window in loaded]}

    rows = [{"window": pickle.dumps(window)} for window in windows]
    stream = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        fetch, batch_size=1, num_cpus=0, compute=ray.data.TaskPoolStrategy(size=1)
    )
    stream.context.execution_options.preserve_order = True
    for row in stream.iter_rows():
        yield pickle.loads(row["slices"])  # noqa: S301 - our own bytes
