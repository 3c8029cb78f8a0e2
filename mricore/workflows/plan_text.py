"""A plan as lines of text: tables, what was measured, and what is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from mricore.data.progress import duration
from mricore.training.forecast import (
    Assumptions,
    Calibration,
    Forecast,
    Phase,
    Reading,
    WorkerMemory,
    Workload,
    journeys,
)
from mricore.training.short_runs import teacher_warning

UNKNOWN = "?"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_BOUNDS = {"memory": "memory: does not fit"}


def amount(size: float) -> str:
    """Bytes as people write them, decimal: ``1.5 GB``."""
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"


def span(seconds: float) -> str:
    """Seconds as people write them: finer than ``duration`` if few, coarser if many."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    return duration(seconds) if seconds < 100 * 3600 else f"{seconds / 3600:,.0f} h"


def plan_lines(
    workload: Workload,
    measured: Calibration,
    reading: Reading | None,
    believed: Assumptions,
    found: Sequence[Forecast],
) -> list[str]:
    """All lines of the output."""
    unit = "GPU" if workload.recipe.train.gpu else "CPU"
    warning = teacher_warning(workload.recipe, workload.steps)
    return [
        _title(workload),
        *([warning] if warning else []),
        "",
        *table(_rows(found, unit)),
        "",
        f"memory of a worker at the peak of a step ({'GPU' if unit == 'GPU' else 'host'}):",
        *table(_memory_rows(found)),
        "",
        *_storage(workload, measured, reading, found),
        "",
        "measured:",
        *(f"  {line}" for line in [*_measured(measured, reading), *_busy(measured, believed)]),
        "assumed:",
        *(f"  {line}" for line in _assumed(workload, measured, reading, believed, found)),
    ]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns aligned to the right; the first row holds their names."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _title(workload: Workload) -> str:
    recipe = workload.recipe
    return (
        f"plan: {recipe.name}, {workload.slices:,} slices, {recipe.train.epochs} epochs of "
        f"{workload.steps_per_epoch:,} steps of {workload.slices_per_step:,.0f} slices"
    )


def _rows(found: Sequence[Forecast], unit: str) -> list[list[str]]:
    names = ["GPUs" if unit == "GPU" else "workers", "slices/s", "step", "wall time", f"{unit}-hours"]
    names += ["memory/worker", "host/worker", "storage read", "at", "bound by"]
    return [names, *(_row(one) for one in found)]


def _row(one: Forecast) -> list[str]:
    read = one.read_bytes
    return [
        str(one.workers),
        f"{one.slices_per_s:,.1f}" if one.slices_per_s >= 10 else f"{one.slices_per_s:.2g}",
        span(one.step_s),
        span(one.wall_s),
        f"{one.hours:,.3g}" if one.hours < 1000 else f"{one.hours:,.0f}",
        amount(one.memory.total),
        amount(one.host_bytes),
        UNKNOWN if read is None else amount(read),
        UNKNOWN if read is None else f"{amount(read / one.training_s)}/s",
        _BOUNDS.get(one.bound, one.bound),
    ]


def _memory_rows(found: Sequence[Forecast]) -> list[list[str]]:
    names = [field.name for field in fields(WorkerMemory)]
    rows = [[str(one.workers), *(amount(getattr(one.memory, name)) for name in names)] for one in found]
    return [["workers", *names], *rows]


def _storage(
    workload: Workload, measured: Calibration, reading: Reading | None, found: Sequence[Forecast]
) -> list[str]:
    train = workload.recipe.train
    counts = ", ".join(f"{one.checkpoints:,} with {one.workers}" for one in found)
    workers = "worker" if [one.workers for one in found] == [1] else "workers"
    size, written = amount(measured.checkpoint_bytes), amount(max(one.written_bytes for one in found))
    read = "not known without --data"
    if reading is not None:
        stored = amount(workload.slices * reading.stored_bytes)
        read = f"{stored} of shards x {train.epochs} epochs x {reading.amplification:.2f}"
        read += " (row groups are read whole)"
    return [
        f"read:        {read}",
        f"checkpoints: {size} each, {train.keep_checkpoints} kept at a time",
        f"written:     {counts} {workers}; at most {written} in all",
    ]


def _measured(measured: Calibration, reading: Reading | None) -> list[str]:
    few, many = measured.sizes
    at_once = f", in {measured.together} processes at once" if measured.together > 1 else ""
    lines = [
        f"steps of {few} and {many} slices on {measured.device} for {measured.seconds:.0f} s{at_once}",
        *(line for phase in measured.phases for line in _phase_lines(phase, len(measured.phases))),
        f"state: built in {measured.build_s:.2g} s, copied for a checkpoint in {measured.copy_s:.2g} s, "
        f"and written to a temporary folder in {measured.write_s:.2g} s",
    ]
    if reading is None:
        return [*lines, "speed of the data: not measured, as no dataset was given (--data)"]
    return [
        *lines,
        f"data: {reading.slices_per_s:,.0f} slices/s for the readers of a worker, "
        f"{1e3 * reading.cpu_s_per_slice:.2g} ms of a core each; {amount(reading.stored_bytes)} stored and "
        f"{amount(reading.decoded_bytes)} decoded per slice",
    ]


def _phase_lines(phase: Phase, phases: int) -> list[str]:
    part = f" ({phase.share:.0%} of the run)" if phases > 1 else ""
    step, memory = phase.step, phase.activations
    return [
        f"crops of {phase.global_size} and {phase.local_size} px{part}: "
        f"step = {step.fixed:.3g} s + {step.per_slice:.3g} s per slice",
        f"  {phase.report_s:.2g} s more with gauges; "
        f"activations = {amount(memory.fixed)} + {amount(memory.per_slice)} per slice",
    ]


def _busy(measured: Calibration, believed: Assumptions) -> list[str]:
    """A warning if something else kept the cores busy just before."""
    if measured.load < 0.5 * believed.cores:
        return []
    return [
        f"this machine was busy (load {measured.load:.1f} on {believed.cores} cores): measure again when not"
    ]


def _assumed(
    workload: Workload,
    measured: Calibration,
    reading: Reading | None,
    believed: Assumptions,
    found: Sequence[Forecast],
) -> list[str]:
    train, gradients = workload.recipe.train, amount(measured.state.gradients)
    return [
        "scaling: workers are as fast as this one was; a step takes its share of the batch along that line",
        *_extrapolated(measured, found),
        f"communication: {journeys(workload, measured)} (W-1)/W x {gradients} per step at "
        f"{amount(believed.bytes_per_s)}/s (--bandwidth), not hidden behind the backward pass",
        f"start-up: {believed.start_up_s:g} s for Ray and its workers; {believed.epoch_start_s:g} s and the "
        "first round of windows for the first epoch; later ones begin while the one before ends",
        f"checkpoints: one each {train.checkpoint_seconds:g} s, or in {train.checkpoint_share:.0%} of the "
        "time; training waits for the copy alone",
        _data_line(reading, believed),
        "host memory: with the copy of a checkpoint, slices of a round of windows, and another round or "
        f"{amount(believed.ahead_bytes)} of slices read ahead; without Ray's object store",
        *_device_lines(workload, measured),
        *_left_out(workload, reading, believed),
    ]


def _extrapolated(measured: Calibration, found: Sequence[Forecast]) -> list[str]:
    few, many = measured.sizes
    shares = [one.slices_per_worker for one in found]
    if max(shares) <= many + 1 and min(shares) >= few - 1:
        return []
    asked = f"{min(shares):,.4g} to {max(shares):,.4g}" if len(shares) > 1 else f"{shares[0]:,.4g}"
    return [f"  shares of {asked} slices are beyond those measured; more --seconds reach further"]


def _data_line(reading: Reading | None, believed: Assumptions) -> str:
    if reading is None:
        return "data: never waited for"
    if believed.reads_beside:
        return "data: readers have cores to themselves, beside the step"
    return "data: readers share the cores of the workers, so reading adds to the step"


def _device_lines(workload: Workload, measured: Calibration) -> list[str]:
    if workload.recipe.train.gpu:
        return ["memory: as allocated; about a tenth more is reserved, and CUDA itself takes about 0.5 GB"]
    if measured.together > 1:
        return [f"machines: {measured.together} workers share one, as they did here"]
    return [
        "machines: no worker slows another. Those of one machine share its cores and its memory's speed: "
        "--together N"
    ]


def _left_out(workload: Workload, reading: Reading | None, believed: Assumptions) -> list[str]:
    lines = []
    if workload.recipe.initial.layout != "none":
        lines.append("weights: random here, as their values do not change the time")
    if reading is None:
        size = amount(believed.unknown_decoded_bytes)
        lines.append(f"slices: noise of 256 x 256 px ({size}), as no dataset was given (--data)")
    if workload.recipe.train.validate_steps:
        lines.append("validation: not counted (train.validate_steps)")
    return lines
