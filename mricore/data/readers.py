"""The two window readers: Ray Data tasks, or a thread of this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import ray

from mricore.config.schema import Data
from mricore.data import tasks
from mricore.data.batch import Slices
from mricore.data.manifest import Manifest
from mricore.data.plan import Window
from mricore.data.storage import Place
from mricore.data.stream import WindowReader, read_window

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
    return tasks.stream(
        lambda window: read_window(dataset, groups, settings, window),
        windows,
        num_cpus=0,
        compute=ray.data.TaskPoolStrategy(size=1),
    )
