"""Units of an evaluation as Ray tasks: in parallel, each kept as soon as it is done, none computed twice."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from mricore.config.running import Running
from mricore.data.cluster import cluster_cpus, cluster_gpus
from mricore.data.progress import Progress
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.units import Unit, done_digests, kept, store

ATTEMPTS = 2
"""A unit whose process dies is tried again: once."""
LOOK = 30.0
"""Seconds between two lines of progress while no unit ends."""


Inputs = Mapping[str, Callable[[], Any]]
"""What units name, each made when the first unit that is not done yet needs it."""


@dataclass(frozen=True)
class Failure:
    """A unit that gave nothing, why, and whether what the user gave is the cause."""

    unit: Unit
    reason: str
    is_users: bool

    def __str__(self) -> str:
        return f"failed: {self.unit}: {self.reason}"


@dataclass(frozen=True)
class Ran:
    """Rows of all units that are done, and the units that failed."""

    rows: list[Measurement]
    failures: list[Failure]


def run_units(units: Sequence[Unit], inputs: Inputs, out: Place, running: Running) -> Ran:
    """Compute what is not kept in ``out`` yet, and collect all. Needs a Ray session.

    A unit that fails, or whose inputs cannot be made, is told in one line and the others go on.

    Raises:
        UserError: a unit needs more of the cluster than there is, or ``out`` cannot be used.
    """
    _check_room(running)
    there = done_digests(out)
    rows = {}
    for unit in units:
        if unit.digest in there and (found := kept(out, unit)) is not None:
            rows[unit.digest] = found
    waiting = [unit for unit in units if unit.digest not in rows]
    if rows:
        print(f"{len(rows):,} of {len(units):,} units are done already", flush=True)
    failures = [one for one in _computed(waiting, inputs, out, running) if one is not None]
    failed = {failure.unit.digest for failure in failures}
    for unit in waiting:
        if unit.digest not in failed:
            rows[unit.digest] = _just_made(out, unit)
    return Ran([row for unit in units for row in rows.get(unit.digest, [])], failures)


def _check_room(running: Running) -> None:
    for needed, there, what in (
        (running.cpus, cluster_cpus(), "CPUs"),
        (running.gpus, cluster_gpus(), "GPUs"),
    ):
        if needed > there:
            raise UserError(
                f"a unit needs {needed:g} {what} and the cluster has {there:g}",
                f"lower --set run.{what.lower()}",
            )


def _computed(
    units: Sequence[Unit], inputs: Inputs, out: Place, running: Running
) -> Iterator[Failure | None]:
    """One answer for each unit, in the order in which they end."""
    if not units:
        return
    stored, lacking = _stored(dict.fromkeys(name for unit in units for name in unit.inputs), inputs)
    waiting: list[Unit] = []
    for unit in reversed(units):
        missing = next((name for name in unit.inputs if name in lacking), None)
        if missing is None:
            waiting.append(unit)
        else:
            yield Failure(unit, *lacking[missing])
    progress, done = Progress("evaluation", len(waiting), "units", interval=LOOK), 0
    options = {"num_cpus": running.cpus, "num_gpus": running.gpus, "max_retries": ATTEMPTS - 1}
    task = ray.remote(_task).options(**options)
    flying: dict[Any, Unit] = {}
    while waiting or flying:
        while waiting and len(flying) < _at_once(running):
            unit = waiting.pop()
            given = [stored[name] for name in unit.inputs]
            flying[task.remote(unit, out, running.device, running.threads, *given)] = unit
        ready, _ = ray.wait(list(flying), timeout=LOOK)
        for reference in ready:
            failure = _answer(flying.pop(reference), reference)
            done += 1
            if failure:
                print(failure, flush=True)
            yield failure
        progress.update(done)


def _stored(names: Iterable[str], inputs: Inputs) -> tuple[dict[str, Any], dict[str, tuple[str, bool]]]:
    """References to inputs, and of those that cannot be made why, and whether that is the user's."""
    stored, lacking = {}, {}
    for name in names:
        try:
            stored[name] = ray.put(inputs[name]())
        except UserError as error:
            lacking[name] = f"{error.problem} ({error.remedy})", True
        except RayError as error:
            lacking[name] = f"a process ended ({type(error).__name__})", False
        if name in lacking:
            print(f"failed: {name}: {lacking[name][0]}", flush=True)
    return stored, lacking


def _at_once(running: Running) -> int:
    """Units at once: no more than there is room for, so that units begin in their order."""
    room = int(cluster_cpus() / running.cpus)
    if running.gpus:
        room = min(room, int(cluster_gpus() / running.gpus))
    return max(1, min(room, running.concurrency or room))


def _answer(unit: Unit, reference: Any) -> Failure | None:
    try:
        told = ray.get(reference)
    except RayError as error:
        return Failure(unit, f"its process ended ({type(error).__name__})", is_users=False)
    return Failure(unit, *told) if told else None


def _task(unit: Unit, out: Place, device: str, threads: int, *given: Any) -> tuple[str, bool] | None:
    """Compute a unit and keep it. None, or why it failed and whether that is the user's.

    Errors travel as values: Ray would wrap them with messages, which may tell what must not be told.
    """
    torch.set_num_threads(threads)
    begun = time.perf_counter()
    try:
        made = unit.work(*given, device=device)
        facts = {"device": device, "threads": threads, "seconds": round(time.perf_counter() - begun, 3)}
        store(out, unit, made, facts)
    except UserError as error:
        return f"{error.problem} ({error.remedy})", True
    except Exception as error:  # noqa: BLE001 - one unit must not stop the others
        return f"{type(error).__name__} in {_where(error)}", False
    return None


def _where(error: BaseException) -> str:
    """File and line of ours where it happened, below this module, without the message."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    ours = [frame for frame in frames if "mricore" in Path(frame.filename).parts] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _just_made(out: Place, unit: Unit) -> list[Measurement]:
    rows = kept(out, unit)
    if rows is None:
        raise UserError(
            f"the result of {unit} cannot be read at {out.uri}",
            "all machines must reach this place: use a shared folder or s3://",
        )
    return rows
