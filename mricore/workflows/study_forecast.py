"""What a study will take, from the machinery of ``jobs/plan.py``: one measurement for each kind of step."""

from __future__ import annotations

import heapq
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mricore.config.schema import Recipe
from mricore.training.forecast import Forecast, forecasts
from mricore.workflows.plan import Plan, PlanRequest, foretold
from mricore.workflows.plan_text import span, table
from mricore.workflows.study_trainings import Training, alone

SECONDS = 30.0
"""For measuring each kind of step."""


@dataclass(frozen=True)
class StudyForecast:
    """Seconds of each training, up to each arm, and of all with so many at once; hours of a GPU or core."""

    trainings: tuple[float, ...]
    arms: Mapping[str, float]
    wall_s: float
    hours: float


def foretell(trainings: Sequence[Training], data: str, max_concurrent: int) -> StudyForecast:
    """Measure on this machine, and foretell all trainings on a curated dataset.

    Raises:
        UserError: this machine cannot do a step of a recipe.
    """
    plans: dict[str, Plan] = {}
    for training in trainings:
        kind = cost_of(training.recipe)
        if kind not in plans:
            plans[kind] = _plan(training.recipe, data, max_concurrent)
    rows = [_forecast(plans[cost_of(one.recipe)], one.recipe) for one in trainings]
    arms = {
        reading.arm: _forecast(plans[cost_of(one.recipe)], alone(one, reading.epoch).recipe).wall_s
        for one in trainings
        for reading in one.readings
    }
    seconds = tuple(row.wall_s for row in rows)
    return StudyForecast(seconds, arms, makespan(seconds, max_concurrent), sum(row.hours for row in rows))


def cost_of(recipe: Recipe) -> str:
    """The settings that a step's time and memory depend on, as text."""
    idle = {
        *("name", "seed", "curation", "initial", "objective", "optimizer", "health", "tracking"),
    }
    document = recipe.model_dump(mode="json", exclude=idle)
    for name in ("epochs", "schedule_epochs", "keep_epochs"):
        document["train"].pop(name)
    for name in ("replacement", "normalization"):
        document["data"].pop(name)
    return str(sorted(document.items()))


def makespan(seconds: Sequence[float], at_once: int) -> float:
    """When the last training ends, if each begins as soon as fewer than ``at_once`` run."""
    free = [0.0] * at_once
    for one in seconds:
        heapq.heappush(free, heapq.heappop(free) + one)
    return max(free)


def trainings_text(
    trainings: Sequence[Training], untrained: Sequence[str], found: StudyForecast | None
) -> str:
    """The trainings, which arms are read from each, and what they take where that is known.

    Arms that are not trained are a line of their own, which takes no time.
    """
    rows = [["training", "epochs", "arms (after so many epochs)", *(["predicted"] if found else [])]]
    for number, training in enumerate(trainings):
        arms = ", ".join(f"{one.arm} ({one.epoch})" for one in training.readings)
        took = [span(found.trainings[number])] if found else []
        rows.append([f"{number + 1}", f"{training.epochs}", arms, *took])
    if untrained:
        rows.append(["none", "0", ", ".join(untrained), *(["0 s"] if found else [])])
    lines = table(rows)
    if found:
        unit = "GPU" if trainings[0].recipe.train.gpu else "CPU"
        lines.append(f"all trainings: {span(found.wall_s)}, {found.hours:,.3g} {unit}-hours")
    return "\n".join(lines)


def _plan(recipe: Recipe, data: str, max_concurrent: int) -> Plan:
    train = recipe.train
    cores = len(os.sched_getaffinity(0))
    together = 1 if train.gpu else max(1, min(cores, train.workers * max_concurrent))
    request = PlanRequest(
        recipe.name, data=data, workers=str(train.workers), together=together, seconds=SECONDS
    )
    return foretold(recipe, request)


def _forecast(plan: Plan, recipe: Recipe) -> Forecast:
    """Of a run with the same kind of steps, and as many of them in an epoch."""
    workload = replace(plan.workload, recipe=recipe)
    (found,) = forecasts(workload, plan.measured, plan.reading, plan.believed, [recipe.train.workers])
    return found
