"""A minute of real steps, from which a run is foretold: their time and memory at two sizes of a share."""

from __future__ import annotations

import importlib
import math
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mricore.config.overrides import validated
from mricore.config.schema import Initial, Recipe
from mricore.data.batch import FULL, Batch, Image, Slices
from mricore.data.storage import readable_errors
from mricore.errors import UserError
from mricore.objective.communication import Alone
from mricore.training.checkpoint import CheckpointInfo, snapshot, write_checkpoint
from mricore.training.forecast import Calibration, Phase, StateBytes, line_through
from mricore.training.host_memory import keep_freed_memory
from mricore.training.initial import initial_state
from mricore.training.memory_use import (
    available_bytes,
    machine_bytes,
    peak_resident_bytes,
    resident_bytes,
)
from mricore.training.methods import method_of
from mricore.training.rates import rates_at
from mricore.training.state import TrainState
from mricore.training.step import train_step

LENGTH = 10_000
"""Steps of the imagined run whose schedules tell crop sizes and rates."""
STEPS_AT_ONCE = 5
"""On CUDA so many steps are timed together, as training does not wait for each."""
USABLE = 0.5
"""Share of the free memory that a step may take here."""
ROUNDS = 5
"""Steps of the larger size that there should be time for, all others included."""
LONG_STEP_S = 2.0
"""A first step that took so long is not repeated without its extra work, to know how long a step takes."""


@dataclass(frozen=True)
class CalibrationJob:
    """What a calibrating process is told; it is pickled. ``shares`` are the slices per worker to foretell."""

    recipe: dict[str, Any]
    images: list[Image]
    shares: tuple[float, ...]
    seconds: float
    index: int = 0
    together: int = 1
    """This is process ``index`` of so many that calibrate at once."""


@dataclass(frozen=True)
class Part:
    """A part of the run with crops of one size; ``step`` of ``LENGTH`` is in its middle."""

    share: float
    step: int
    global_size: int
    local_size: int


def phases_of(recipe: Recipe) -> list[Part]:
    """The parts of the run in which crops are of one size, in order."""
    settings = recipe.augment
    ends = [stage.until for stage in settings.stages]
    sizes = [(stage.global_size, stage.local_size) for stage in settings.stages]
    if not ends or ends[-1] < 1:
        ends, sizes = [*ends, 1.0], [*sizes, (settings.global_size, settings.local_size)]
    starts = [0.0, *ends[:-1]]
    return [
        Part(end - start, int((start + end) / 2 * LENGTH), *size)
        for start, end, size in zip(starts, ends, sizes, strict=True)
    ]


@dataclass(frozen=True)
class Point:
    """One thing to time: a step of so many slices in one phase of the run."""

    phase: int
    slices: int


def require_device(recipe: Recipe, together: int) -> None:
    """Make sure that this machine has what the recipe trains on.

    Raises:
        UserError: it has not.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if recipe.train.gpu and found < together:
        has = "torch finds no CUDA device here" if not found else f"this machine has {found}"
        raise UserError(
            f"the recipe trains on GPUs, {together} would be calibrated, and {has}",
            "run it on a machine with GPUs, or plan for CPUs with --set train.gpu=false",
        )


def noise_images(count: int) -> list[Image]:
    """Slices of 256 x 256 pixels where there is no dataset."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 65536, (256, 256)).astype(np.uint16) for _ in range(count)]


def calibrate(job: CalibrationJob) -> Calibration:
    """Step as a training worker does for about ``seconds``; needs a process of its own.

    Raises:
        UserError: the smallest step does not fit into memory, or no checkpoint can be written.
    """
    began, load = time.perf_counter(), os.getloadavg()[0]
    recipe = validated(job.recipe)
    device = _prepared(recipe, job.index)
    images = sum(image.nbytes for image in job.images)
    process = resident_bytes() - images
    start = time.perf_counter()
    state = initial_state(recipe.model_copy(update={"initial": Initial()}), device)
    build_s = time.perf_counter() - start
    bench = Bench(recipe, state, job.images, device, process + images)
    sizes = bench.sizes(job.shares, began + job.seconds, job.together)
    phases = bench.phases(sizes, began + job.seconds)
    saved = _saved(state, recipe)
    return Calibration(
        device=_name(device),
        sizes=sizes,
        seconds=time.perf_counter() - began,
        build_s=build_s,
        phases=phases,
        state=bench.state_bytes,
        process_bytes=peak_resident_bytes() - images if device.type == "cuda" else process,
        limit_bytes=_limit(device),
        checkpoint_bytes=saved.size,
        copy_s=saved.copy_s,
        write_s=saved.write_s,
        together=job.together,
        load=load,
    )


def slowest(found: Sequence[Calibration]) -> Calibration:
    """Of processes that calibrated at once: workers wait for the slowest of them at each step."""
    return max(found, key=lambda one: sum(part.share * part.step.at(one.sizes[1]) for part in one.phases))


@dataclass(frozen=True)
class Seen:
    """What was seen of each point: bytes at the peak, seconds of plain steps, and of steps with gauges."""

    sizes: tuple[int, int]
    peaks: dict[Point, float]
    plain: dict[Point, list[float]]
    reports: dict[Point, list[float]]

    def phase(self, number: int, part: Part) -> Phase:
        """One phase of the run."""
        few, many = (Point(number, size) for size in self.sizes)
        slower, faster = (statistics.median(self.plain[point]) for point in (many, few))
        return Phase(
            share=part.share,
            global_size=part.global_size,
            local_size=part.local_size,
            step=line_through((few.slices, faster), (many.slices, slower)),
            report_s=max(0.0, statistics.median(self.reports[many]) - slower),
            activations=line_through((few.slices, self.peaks[few]), (many.slices, self.peaks[many])),
        )


class Bench:
    """Steps of one state on batches of any size."""

    def __init__(
        self, recipe: Recipe, state: TrainState, images: list[Image], device: torch.device, resident: int
    ) -> None:
        self.recipe, self.state, self.images, self.device = recipe, state, images, device
        self.method = method_of(recipe)
        self.parts = phases_of(recipe)
        self.state_bytes = bytes_of(state)
        self._resident = resident
        self._number = 0

    def sizes(self, shares: Sequence[float], until: float, together: int) -> tuple[int, int]:
        """Two sizes of a share that fit into the time and the memory, as near to ``shares`` as they allow.

        One step of one slice tells what is possible.

        Raises:
            UserError: not even that fits into the memory.
        """
        largest = max(range(len(self.parts)), key=self._pixels)
        probe = Point(largest, self.recipe.train.accumulate)
        free = self._free() / together
        taken = self._seconds(probe) / probe.slices
        if taken < LONG_STEP_S:
            taken = self._seconds(probe) / probe.slices
        left = (until - time.perf_counter()) / len(self.parts)
        in_time = int(left / (ROUNDS * self._block * taken))
        in_memory = int(USABLE * free / max(1.0, self._activations() / probe.slices))
        wanted = math.ceil(max(shares))
        most = min(wanted, max(2 * probe.slices, min(in_time, in_memory)))
        least = min(math.floor(min(shares)), most // 2)
        return max(1, least), most

    def phases(self, sizes: tuple[int, int], until: float) -> tuple[Phase, ...]:
        """Time and memory of each phase; points are visited in turns, so that all see the same machine."""
        points = [Point(phase, size) for phase in range(len(self.parts)) for size in sorted(set(sizes))]
        points.sort(key=self._load)  # a process on a CPU keeps its memory, so the largest comes last
        peaks: dict[Point, float] = {}
        plain: dict[Point, list[float]] = defaultdict(list)
        reports: dict[Point, list[float]] = {}
        for point in points:
            self._reset_peak()
            reports[point] = [self._seconds(point, measured=True)]
            peaks[point] = self._activations()
        for turn in count():
            for point in points:
                plain[point].append(self._seconds(point))
                if point.slices == sizes[1] and (turn or time.perf_counter() < until):
                    reports[point].append(self._seconds(point, measured=True))
            if time.perf_counter() > until:
                break
        seen = Seen(sizes, peaks, plain, {point: taken[1:] or taken for point, taken in reports.items()})
        return tuple(seen.phase(number, part) for number, part in enumerate(self.parts))

    def _seconds(self, point: Point, measured: bool = False) -> float:
        """Of one step from decoded slices to the updated weights; a mean over some on CUDA."""
        count = 1 if measured else self._block
        self._wait()
        start = time.perf_counter()
        for _ in range(count):
            self._step(point, measured)
        self._wait()
        return (time.perf_counter() - start) / count

    def _step(self, point: Point, measured: bool) -> None:
        """Draws are those of the global batch, of which this is the first worker's part."""
        recipe, many = self.recipe, point.slices
        first = self._number * many
        images = [self.images[(first + i) % len(self.images)] for i in range(many)]
        slices = Slices(images, [FULL] * many, [""] * many)  # how bright they are takes no time
        whole = max(recipe.train.batch_size, many)
        batch = Batch(0, self._number, slices, np.arange(many), whole, (many,))
        rates = rates_at(self.parts[point.phase].step, LENGTH, recipe)
        views = self.method.views(batch, rates, self.device)
        student, state = self.state.student, self.state
        train_step(state, self.method, student, views, batch.counts, rates, recipe, Alone(), measured)
        self._number += 1

    @property
    def _block(self) -> int:
        return STEPS_AT_ONCE if self.device.type == "cuda" else 1

    def _pixels(self, phase: int) -> int:
        part, local = self.parts[phase], self.recipe.augment.local_crops
        return 2 * part.global_size**2 + local * part.local_size**2

    def _load(self, point: Point) -> int:
        return point.slices * self._pixels(point.phase)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _reset_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def _activations(self) -> float:
        """Bytes at the peak besides the state."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device) - self.state_bytes.total)
        return float(max(0, peak_resident_bytes() - self._resident - self.state_bytes.total))

    def _free(self) -> int:
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return available_bytes()


def bytes_of(state: TrainState) -> StateBytes:
    """What a state holds once its first step is done."""
    weights = _bytes(state.student.state_dict().values())
    trained = _bytes(one for one in state.student.parameters() if one.requires_grad)
    return StateBytes(
        weights=weights,
        gradients=trained,
        moments=2 * trained,
        teacher=0 if state.teacher is None else _bytes(state.teacher.state_dict().values()),
        anchor=_bytes(state.anchor),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _prepared(recipe: Recipe, index: int) -> torch.device:
    """This process as a training worker's is, which has loaded Ray among others."""
    importlib.import_module("mricore.training.worker")
    torch.set_num_threads(recipe.train.threads_per_worker)
    if recipe.train.gpu:
        return torch.device("cuda", index)
    keep_freed_memory()
    return torch.device("cpu")


@dataclass(frozen=True)
class Saved:
    """A checkpoint: its bytes, seconds to copy the state, and to write the copy to a temporary folder."""

    size: int
    copy_s: float
    write_s: float


def _saved(state: TrainState, recipe: Recipe) -> Saved:
    """Save once.

    Raises:
        UserError: there is no room for it.
    """
    with tempfile.TemporaryDirectory() as folder, readable_errors(folder):
        start = time.perf_counter()
        copied = snapshot(state)
        middle = time.perf_counter()
        if copied is not None:
            write_checkpoint(Path(folder), copied, CheckpointInfo(state.step, 1, "", recipe))
        end = time.perf_counter()
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    return Saved(size, middle - start, end - middle)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"


def _limit(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine_bytes()
