"""The sides of ``bench_stream.py``: processes of their own that read a dataset once on request.

Besides, what a process and its descendants need: CPU seconds, and memory while they read (a share of what
several of them share).

    python benchmarks/stream_sides.py SETTINGS.json

is our side: the readers that a training worker uses, and batches put together as its step does.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Reading:
    """A dataset was read once. ``waited`` are the seconds that a consumer of a given speed had to wait."""

    slices: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    waited: float

    @property
    def rate(self) -> float:
        """Slices per second."""
        return self.slices / self.seconds


class Side:
    """A child that reads a dataset once for each line of its input."""

    def __init__(self, python: str, program: Path, settings: Mapping[str, Any], folder: Path) -> None:
        """Start it and wait until it is ready."""
        path = folder / f"{len(list(folder.glob('*.json')))}.json"
        path.write_text(json.dumps(settings))
        self.child = subprocess.Popen(
            [python, str(program), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def read(self) -> Reading:
        """Have it read the dataset once."""
        before, peak, done = cpu_seconds(self.child.pid), [0.0], threading.Event()
        watch = threading.Thread(target=_watch_memory, args=(self.child.pid, peak, done))
        watch.start()
        assert self.child.stdin is not None  # noqa: S101
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        answer = self._answer()
        done.set()
        watch.join()
        spent = cpu_seconds(self.child.pid) - before
        return Reading(answer["slices"], answer["seconds"], spent, peak[0], answer.get("waited", 0.0))

    def close(self) -> None:
        """End it."""
        self.child.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None  # noqa: S101
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"a side ended with exit code {self.child.wait()}; see its output above")
        return json.loads(line)


def processes(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in _stats():
        children[int(stat[3])].append(int(stat[0]))
    found, unseen = [], [root]
    while unseen:
        found.append(unseen.pop())
        unseen += children[found[-1]]
    return found


def cpu_seconds(root: int) -> float:
    """CPU seconds of a process and its descendants, those that ended included if they were waited for."""
    wanted = set(processes(root))
    ticks = sum(sum(map(int, stat[13:17])) for stat in _stats() if int(stat[0]) in wanted)
    return ticks / os.sysconf("SC_CLK_TCK")


def _stats() -> Iterator[list[str]]:
    """The fields of /proc/PID/stat of each process, its name without spaces."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                head, _, tail = (folder / "stat").read_text().rpartition(")")
            except OSError:  # it has ended
                continue
            yield [head.split(" ", 1)[0], "name", *tail.split()]


def _watch_memory(root: int, peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.2):
        peak[0] = max(peak[0], sum(map(_mib, processes(root))))


def _mib(process: int) -> float:
    """Memory of a process, its share of what it shares, in MiB."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def serve(settings: Mapping[str, Any]) -> None:
    """Be our side. ``demand`` are the slices per second that the consumer takes; 0 for all there are."""
    import torch

    from mricore.config.schema import Data
    from mricore.data.cluster import ray_session
    from mricore.data.manifest import read_manifest
    from mricore.data.readers import window_reader
    from mricore.data.storage import place
    from mricore.data.stream import PlannedSource
    from mricore.training.host_memory import keep_freed_memory

    os.environ.update(settings["environment"])
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training worker does
    dataset = place(settings["place"])
    data = Data(source=settings["source"], readers=settings["workers"])
    manifest = read_manifest(dataset)
    reader = window_reader(dataset, manifest, data)
    source = PlannedSource(manifest, data, 0, settings["batch"], 0, 1, reader)
    with ExitStack() as stack:
        if settings["source"] == "ray":
            stack.enter_context(ray_session(settings["workers"]))
        print("{}", flush=True)
        for epoch, _ in enumerate(sys.stdin):
            print(json.dumps(consume(source, epoch, settings["demand"])), flush=True)


def consume(source: Any, epoch: int, demand: float) -> dict[str, float]:
    """Read an epoch as a step would; waiting counts once the first batch is there."""
    from mricore.augment.collate import pad_slices

    slices, waited, start = 0, 0.0, time.perf_counter()
    before = first = start
    for batch in source.batches(epoch, 0):
        now = time.perf_counter()
        images, _ = pad_slices(batch.slices.images)
        if slices:
            waited += now - before
        else:
            first = now
        slices += len(images)
        if demand:
            time.sleep(max(first + slices / demand + waited - time.perf_counter(), 0))
        before = time.perf_counter()
    return {"slices": slices, "seconds": time.perf_counter() - start, "waited": waited}


def main(arguments: Sequence[str]) -> None:
    """Be our side, with settings from a file."""
    serve(json.loads(Path(arguments[0]).read_text()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
