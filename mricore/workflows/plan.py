"""What a run will take on so many workers or GPUs, from about a minute of its real steps on this machine."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.config.schema import Recipe
from mricore.data.manifest import has_manifest, read_manifest
from mricore.data.storage import Place, place, readable_errors
from mricore.errors import UserError
from mricore.training.calibration import (
    CalibrationJob,
    calibrate,
    noise_images,
    require_device,
    slowest,
)
from mricore.training.forecast import (
    Assumptions,
    Calibration,
    Forecast,
    Reading,
    Workload,
    forecasts,
)
from mricore.training.reading import AHEAD_BYTES, Sample, plan_of, read_sample
from mricore.workflows.plan_text import plan_lines

READING_SHARE = 0.15
"""Of the time, for the speed of the data."""
GIGABYTE = 1e9
BYTES_PER_S = {True: 10 * GIGABYTE, False: 1 * GIGABYTE}
"""All-reduce with and without GPUs: about a network of 100 and of 10 Gbit/s."""

EPOCH_START_S = {"ray": 2.5, "in_process": 0.1}
"""Of the two sources; Ray Data begins a stream for each epoch."""

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class PlanRequest:
    """The command line of ``jobs/plan.py``."""

    recipe: str
    assignments: tuple[str, ...] = ()
    data: str | None = None
    slices: int | None = None
    workers: str = ""
    together: int = 1
    seconds: float = 60.0
    gigabytes_per_s: float | None = None
    json_file: Path | None = None


@dataclass(frozen=True)
class Plan:
    """All that is printed, and written with ``--json``."""

    workload: Workload
    measured: Calibration
    reading: Reading | None
    believed: Assumptions
    forecasts: list[Forecast]


def plan(request: PlanRequest) -> Plan:
    """Calibrate, foretell, print, and write ``json_file`` if it is given.

    Raises:
        UserError: a setting or the dataset is not usable, or this machine cannot do a step of the recipe.
    """
    recipe = apply_overrides(recipe_named(request.recipe), request.assignments)
    _require_positive("--seconds", request.seconds)
    _require_positive("--bandwidth", request.gigabytes_per_s)
    _require_folder(request.json_file)
    found = foretold(recipe, request)
    print(
        "\n".join(plan_lines(found.workload, found.measured, found.reading, found.believed, found.forecasts))
    )
    if request.json_file is not None:
        with readable_errors(str(request.json_file)):
            request.json_file.write_text(json.dumps(_document(found), indent=1) + "\n")
    return found


def foretold(recipe: Recipe, request: PlanRequest) -> Plan:
    """Calibrate and foretell a recipe; of ``request`` all counts but its own recipe and settings.

    Raises:
        UserError: the dataset is not usable, or this machine cannot do a step of the recipe.
    """
    workers = _workers(request.workers, recipe)
    dataset = _dataset(request)
    require_device(recipe, request.together)
    workload = workload_of(recipe, dataset, request.slices)
    print(f"measuring for about {request.seconds:g} s ...", flush=True)
    shares = tuple(workload.slices_per_step / count for count in workers)
    sample = _sample(recipe, dataset, shares, request.seconds)
    measured = _measured(recipe, sample, shares, request)
    reading = None if sample is None else sample.reading
    believed = _believed(recipe, request)
    return Plan(
        workload, measured, reading, believed, forecasts(workload, measured, reading, believed, workers)
    )


def _require_positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise UserError(f"{name} {value:g} is not above zero", f"give a positive number with {name}")


def _require_folder(file: Path | None) -> None:
    if file is not None and not file.absolute().parent.is_dir():
        raise UserError(f"there is no folder for {file}", "make it, or give another --json")


def _workers(text: str, recipe: Recipe) -> list[int]:
    """The numbers asked for; by default powers of two up to 8 that the lanes allow, and the recipe's own."""
    lanes = recipe.data.lanes
    if not text:
        return sorted({count for count in (1, 2, 4, 8) if lanes % count == 0} | {recipe.train.workers})
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UserError(f"--gpus {text!r} is no list of numbers", "write e.g. --gpus 1,2,4,8") from None
    if wrong := [count for count in counts if count < 1 or lanes % count]:
        raise UserError(
            f"data.lanes={lanes} cannot be dealt to {wrong[0]} workers",
            "choose divisors of data.lanes with --gpus, or change --set data.lanes",
        )
    return counts


def _dataset(request: PlanRequest) -> Place | None:
    if request.data is None:
        if request.slices is None:
            raise UserError("nothing to plan for", "give a dataset with --data, or --slices N")
        return None
    dataset = place(request.data)
    dataset.require()
    if not has_manifest(dataset):
        raise UserError(
            f"{dataset.uri} is not a curated dataset",
            "curate it first: python jobs/curate.py SOURCE DESTINATION",
        )
    return dataset


def workload_of(recipe: Recipe, dataset: Place | None, slices: int | None) -> Workload:
    """The whole dataset, or as many slices as are asked for."""
    if dataset is not None and slices is None:
        epoch = plan_of(recipe, read_manifest(dataset))
        return Workload(recipe, epoch.total, epoch.steps)
    total = slices or 0
    if total < recipe.data.lanes:
        raise UserError(
            f"{total} slices are fewer than data.lanes={recipe.data.lanes}",
            "plan for more slices or lower data.lanes",
        )
    steps = min(-(-total // recipe.train.batch_size), total // recipe.data.lanes)
    return Workload(recipe, total, steps)


def _sample(recipe: Recipe, dataset: Place | None, shares: Sequence[float], seconds: float) -> Sample | None:
    if dataset is None:
        return None
    wanted = int(max(shares)) + 1
    return _apart(
        1, lambda pool: [pool.submit(read_sample, recipe, dataset.uri, wanted, READING_SHARE * seconds)]
    )[0]


def _measured(
    recipe: Recipe, sample: Sample | None, shares: tuple[float, ...], request: PlanRequest
) -> Calibration:
    """The step of as many processes at once as workers will share a machine."""
    images = noise_images(int(max(shares)) + 1) if sample is None else sample.images
    left = request.seconds * (1 if sample is None else 1 - READING_SHARE)
    jobs = [
        CalibrationJob(recipe.model_dump(mode="json"), images, shares, left, index, request.together)
        for index in range(request.together)
    ]
    return slowest(_apart(len(jobs), lambda pool: [pool.submit(calibrate, job) for job in jobs]))


def _apart(processes: int, begin: Callable[[ProcessPoolExecutor], list[Future[Outcome]]]) -> list[Outcome]:
    """Results of functions in processes of their own, which hold nothing but what a worker holds."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            return [future.result() for future in begin(pool)]
        except BrokenProcessPool:
            raise UserError(
                "the measuring process was killed, most likely as memory ran out",
                "measure fewer at once with --together, a smaller recipe, or on a larger machine",
            ) from None


def _believed(recipe: Recipe, request: PlanRequest) -> Assumptions:
    rate = request.gigabytes_per_s
    cores, busy = len(os.sched_getaffinity(0)), request.together * recipe.train.threads_per_worker
    return Assumptions(
        bytes_per_s=BYTES_PER_S[recipe.train.gpu] if rate is None else rate * GIGABYTE,
        epoch_start_s=EPOCH_START_S[recipe.data.source],
        ahead_bytes=AHEAD_BYTES[recipe.data.source],
        reads_beside=recipe.train.gpu or busy < cores,
        cores=cores,
    )


def _document(found: Plan) -> dict[str, object]:
    """The plan as plain data."""
    workload = found.workload
    rows = [
        {**asdict(row), "memory": {**asdict(row.memory), "total": row.memory.total}}
        for row in found.forecasts
    ]
    return {
        "recipe": workload.recipe.model_dump(mode="json"),
        "slices": workload.slices,
        "steps_per_epoch": workload.steps_per_epoch,
        "measured": asdict(found.measured),
        "reading": None if found.reading is None else asdict(found.reading),
        "assumptions": asdict(found.believed),
        "forecasts": rows,
    }
