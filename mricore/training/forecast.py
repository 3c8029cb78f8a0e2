"""What a run will take: arithmetic alone, on what ``calibration`` and ``reading`` have measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mricore.config.schema import Recipe

Bound = Literal["step", "communication", "data", "memory"]


@dataclass(frozen=True)
class Line:
    """A cost of a step, in seconds or bytes, that grows with the slices of one worker's share."""

    fixed: float
    per_slice: float

    def at(self, slices: float) -> float:
        """The cost of a share of so many slices."""
        return self.fixed + self.per_slice * slices


def line_through(few: tuple[float, float], many: tuple[float, float]) -> Line:
    """The line through (slices, cost) of two sizes of a share.

    A cost neither falls with the slices nor is below zero without any, so noise (or a cache that only the
    small share fits into) bends the line to a constant, or to one through the origin and ``many``.
    """
    (x, cost), (more, higher) = few, many
    if more <= x:
        return Line(0.0, higher / more)
    slope = max(0.0, (higher - cost) / (more - x))
    fixed = higher - slope * more
    return Line(fixed, slope) if fixed >= 0 else Line(0.0, higher / more)


@dataclass(frozen=True)
class StateBytes:
    """Bytes of what lives as long as the run, in one worker that holds all of it."""

    weights: int
    gradients: int
    moments: int
    teacher: int
    anchor: int
    """The encoder's first weights, which its drift is measured from."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.moments + self.teacher + self.anchor


@dataclass(frozen=True)
class Phase:
    """A part of the run in which crops are of one size."""

    share: float
    global_size: int
    local_size: int
    step: Line
    """Seconds of a step: crops, masks, forward, backward, update."""
    report_s: float
    """Seconds more for a step that also measures the gauges of a report."""
    activations: Line
    """Bytes at the peak of a step, besides the state."""


@dataclass(frozen=True)
class Calibration:
    """What was measured of the step on this machine, in one process or the slowest of several at once."""

    device: str
    sizes: tuple[int, int]
    """Slices of the two shares that were stepped."""
    seconds: float
    build_s: float
    phases: tuple[Phase, ...]
    state: StateBytes
    process_bytes: int
    """Resident memory of the process before it holds a state (CPU), or at the peak (CUDA)."""
    limit_bytes: int
    """Memory of the device, or of this machine."""
    checkpoint_bytes: int
    copy_s: float
    """To copy the state for a checkpoint, which training waits for."""
    write_s: float
    """To write the copy to a local disk, beside training."""
    together: int
    """How many processes did so at once."""
    load: float
    """Processes that wanted a core of this machine before, on average over a minute."""


@dataclass(frozen=True)
class Reading:
    """What was measured of the dataset with the readers of one worker."""

    slices_per_s: float
    cpu_s_per_slice: float
    stored_bytes: float
    """Bytes of a slice in the shards."""
    decoded_bytes: float
    """Bytes of a slice as it is fed."""
    amplification: float
    """Rows that are read for each row that is fed, as row groups are read as a whole."""


@dataclass(frozen=True)
class Workload:
    """The run."""

    recipe: Recipe
    slices: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.steps_per_epoch * self.recipe.train.epochs

    @property
    def slices_per_step(self) -> float:
        """Of all workers; batches of small datasets are not full."""
        return self.slices / self.steps_per_epoch


@dataclass(frozen=True)
class Assumptions:
    """What is not measured here but believed; the output names each."""

    bytes_per_s: float
    """Of the all-reduce of gradients, per worker and direction."""
    epoch_start_s: float
    """Until the first window of an epoch is being read."""
    cores: int = 1
    """Of this machine."""
    reads_beside: bool = True
    """The reader has a core to itself; else reading adds to the step."""
    start_up_s: float = 30.0
    """Ray, the group of workers and their imports."""
    unknown_decoded_bytes: float = 2 * 256 * 256
    """Bytes of a slice as it is fed, if no dataset tells."""
    ahead_bytes: float = 0.0
    """Decoded slices that a worker's readers hold, besides the round of windows that is being fed."""


@dataclass(frozen=True)
class WorkerMemory:
    """Bytes of one worker at the peak of a step; on CUDA those of the device."""

    process: float
    weights: float
    gradients: float
    moments: float
    teacher: float
    anchor: float
    buckets: float
    """In which DistributedDataParallel joins gradients for their journey."""
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        state = self.weights + self.gradients + self.moments + self.teacher + self.anchor
        return self.process + state + self.buckets + self.activations


@dataclass(frozen=True)
class Forecast:
    """A run with so many workers. Hours are of GPUs, or of CPU cores where there are none."""

    workers: int
    slices_per_worker: float
    step_s: float
    """Mean over the run, with communication, reports and waiting for data."""
    communication_s: float
    data_s: float | None
    """Seconds in which one reader has the slices of a worker's step ready; None if that was not measured."""
    bound: Bound
    slices_per_s: float
    training_s: float
    """Of the loop: steps, starts of epochs, checkpoints."""
    wall_s: float
    hours: float
    memory: WorkerMemory
    host_bytes: float
    """Memory of the first worker on its host, with decoded slices and the copy of a checkpoint; on a CPU all
    of ``memory`` is part of it."""
    read_bytes: float | None
    checkpoints: int
    written_bytes: float


def forecast(
    workload: Workload, measured: Calibration, reading: Reading | None, believed: Assumptions, workers: int
) -> Forecast:
    """What the run takes with so many workers, each with an equal share of every batch."""
    train = workload.recipe.train
    share = workload.slices_per_step / workers
    communication = _communication_s(workload, measured, believed, workers)
    parts = [
        (phase.share, phase.step.at(share) + phase.report_s / train.log_every) for phase in measured.phases
    ]
    step_s = sum(part * _paced(busy + communication, share, reading, believed) for part, busy in parts)
    busy_s = sum(part * busy for part, busy in parts)
    steps_s = workload.steps * step_s
    checkpoints = _checkpoints(workload, measured, steps_s, step_s)
    starts_s = _starts_s(workload, share, reading, believed, step_s)
    training_s = steps_s + starts_s + checkpoints * measured.copy_s
    wall_s = believed.start_up_s + measured.build_s + training_s
    memory = _memory(workload, measured, workers, share)
    data_s = None if reading is None else share / reading.slices_per_s
    cores = train.gpus_per_worker if train.gpu else max(train.threads_per_worker, train.cpus_per_worker)
    return Forecast(
        workers=workers,
        slices_per_worker=share,
        step_s=step_s,
        communication_s=communication,
        data_s=data_s,
        bound=_bound(busy_s, communication, data_s, memory.total > measured.limit_bytes),
        slices_per_s=workload.slices * train.epochs / training_s,
        training_s=training_s,
        wall_s=wall_s,
        hours=workers * cores * wall_s / 3600,
        memory=memory,
        host_bytes=_held_bytes(workload, reading, believed, share)
        + (measured.process_bytes if train.gpu else memory.total)
        + measured.checkpoint_bytes,
        read_bytes=None if reading is None else _read_bytes(workload, reading),
        checkpoints=checkpoints,
        written_bytes=float(checkpoints * measured.checkpoint_bytes),
    )


def forecasts(
    workload: Workload,
    measured: Calibration,
    reading: Reading | None,
    believed: Assumptions,
    workers: Iterable[int],
) -> list[Forecast]:
    """One for each number of workers."""
    return [forecast(workload, measured, reading, believed, count) for count in workers]


def _paced(busy_s: float, share: float, reading: Reading | None, believed: Assumptions) -> float:
    """Seconds of a step whose work takes ``busy_s``, with what its data add to them."""
    if reading is None:
        return busy_s
    if believed.reads_beside:
        return max(busy_s, share / reading.slices_per_s)
    return busy_s + share * reading.cpu_s_per_slice


def _communication_s(workload: Workload, measured: Calibration, believed: Assumptions, workers: int) -> float:
    """Gradients, or shares of the weights, on their way through each worker at each step."""
    crossing = journeys(workload, measured) * (workers - 1) / workers
    return crossing * measured.state.gradients / believed.bytes_per_s


def journeys(workload: Workload, measured: Calibration) -> int:
    """How often (W - 1) / W of all weights or gradients pass through a worker.

    A ring sums whole gradients in two rounds. Shares of the weights are gathered for the forward and for
    the backward pass, and shares of gradients summed, for each part of the step; the teacher is gathered too.
    """
    train = workload.recipe.train
    if train.parallel == "ddp":
        return 2
    return train.accumulate * (4 if measured.state.teacher else 3)


def _bound(busy_s: float, communication_s: float, data_s: float | None, is_too_large: bool) -> Bound:
    if is_too_large:
        return "memory"
    if data_s is not None and data_s > busy_s + communication_s:
        return "data"
    return "communication" if communication_s > busy_s else "step"


def _checkpoints(workload: Workload, measured: Calibration, steps_s: float, step_s: float) -> int:
    """How many are written: when one is due at a report and the one before is stored, and the last."""
    train = workload.recipe.train
    report_s = step_s * train.log_every
    due_s = max(train.checkpoint_seconds, measured.copy_s / train.checkpoint_share, measured.write_s)
    return max(1, math.ceil(steps_s / (math.ceil(due_s / report_s) * report_s)))


def _held_bytes(workload: Workload, reading: Reading | None, believed: Assumptions, share: float) -> float:
    """Slices that a worker holds: a round of windows, and those that are read ahead.

    That is no more than the rest of the epoch, and the first round of the next one.
    """
    of_slice = believed.unknown_decoded_bytes if reading is None else reading.decoded_bytes
    round_bytes = _steps_of_a_round(workload) * share * of_slice
    rest = workload.steps_per_epoch * share * of_slice - round_bytes
    next_epoch = round_bytes if workload.recipe.train.epochs > 1 else 0.0
    return round_bytes + max(min(believed.ahead_bytes, rest), next_epoch)


def _starts_s(
    workload: Workload, share: float, reading: Reading | None, believed: Assumptions, step_s: float
) -> float:
    """Waiting for the first batches of all epochs.

    A first batch takes the first round of windows. From the second epoch on it is made during the last round
    of the epoch before.
    """
    start_s, steps = believed.epoch_start_s, _steps_of_a_round(workload)
    if reading is not None:
        start_s += steps * share / reading.slices_per_s
    return start_s + (workload.recipe.train.epochs - 1) * max(0.0, start_s - steps * step_s)


def _steps_of_a_round(workload: Workload) -> int:
    return min(workload.recipe.data.window_steps, workload.steps_per_epoch)


def _read_bytes(workload: Workload, reading: Reading) -> float:
    fed = workload.slices * workload.recipe.train.epochs
    return fed * reading.stored_bytes * reading.amplification


def _memory(workload: Workload, measured: Calibration, workers: int, share: float) -> WorkerMemory:
    state, train = measured.state, workload.recipe.train
    sharded = train.parallel == "fsdp"
    parts = workers if sharded else 1
    return WorkerMemory(
        process=0.0 if train.gpu else float(measured.process_bytes),
        weights=state.weights / parts,
        gradients=state.gradients / parts,
        moments=state.moments / parts,
        teacher=state.teacher / parts,
        anchor=state.anchor / parts,
        buckets=0.0 if sharded or workers == 1 else float(state.gradients),
        activations=max(phase.activations.at(share) for phase in measured.phases),
    )
