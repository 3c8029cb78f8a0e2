"""Linear probes (paper sections 2.2 and 4.4) as units: a category, a split of the patients, an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mricore.config.fields import Frozen
from mricore.config.probes import Features, LinearProbe, PaperProbe, StrictProbe, linear_probe
from mricore.errors import UserError
from mricore.evaluation.contender import Contender
from mricore.evaluation.features import Parts
from mricore.evaluation.linear_probe import PROTOCOL, Probed, across_tasks, of_task, run_draw
from mricore.evaluation.runner import Inputs
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Part
from mricore.evaluation.units import Made, Unit
from mricore.workflows.evaluate import Plan, Protocol, task_input
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.frozen import SECTION as FEATURES
from mricore.workflows.frozen import feature_input, feature_inputs, feature_settings

VERSION = 2
"""Raised when the same settings give other numbers."""
SECTION = "linear_probe"
TASK = "task"
"""The category that is the task itself, where several are given: the paper's body parts."""


@dataclass(frozen=True)
class ProbeWork:
    """Learns a category from features of some patients and names it for the others.

    Its patients are split anew, whatever the parts of the task; but where choices are made, on the part
    "development", those of the test part are left out.
    """

    encoder: str
    category: str
    draw: int
    seed: int
    settings: LinearProbe
    part: Part

    def __call__(self, *given: LabelledTask | Parts, device: str) -> Made:
        """The unit's result, from tasks and then the features of each; regression runs on ``device``."""
        name, slices = gathered(given, self.category, self.part)
        return Made(run_draw(self.encoder, name, slices, self.draw, self.seed, self.settings, device))


def gathered(given: Sequence[LabelledTask | Parts], category: str, part: Part) -> tuple[str, Probed]:
    """The name in rows and the slices with a category, from tasks and then the features of each.

    With the part "development" those of test patients are not among them.
    """
    tasks = [one for one in given if isinstance(one, LabelledTask)]
    parts = [one for one in given if isinstance(one, Parts)]
    if category == TASK:
        slices = across_tasks([(one, kept.of) for one, kept in zip(tasks, parts, strict=True)], 0)
    else:
        slices = of_task(tasks[0], category, parts[0].of)
    if part == "development":
        slices = slices.only(~np.isin(slices.patients, patients_in(tasks, "test", category)))
    return probed_name(tasks, category), slices


def patients_in(tasks: Sequence[LabelledTask], part: Part, category: str) -> list[str]:
    """Patients of a part, as the slices with a category name them."""
    return [
        f"{one.task.name}:{patient}" if category == TASK else patient
        for one in tasks
        for patient in one.split.patients(part)
    ]


def probed_name(tasks: list[LabelledTask], category: str) -> str:
    """What rows call the task: the category, and of which data."""
    return f"{category} of {' + '.join(one.task.name for one in tasks)}"


def settings(request: EvaluationRequest) -> dict[str, Frozen]:
    """Settings by section for a mode."""
    return {SECTION: linear_probe(request.mode), FEATURES: Features()}


def units(plan: Plan) -> tuple[list[Unit], Inputs]:
    """All units: each category that is told apart, each encoder, each split of the patients.

    Raises:
        UserError: no category is given where a task has none or several.
    """
    groups = told_apart(plan)
    found = [
        _unit(plan, tasks, category, contender, number)
        for number in range(plan.request.draws)
        for tasks, category in groups
        for contender in plan.contenders
    ]
    return found, feature_inputs(plan, grids=False)


def told_apart(plan: Plan) -> list[tuple[list[LabelledTask], str]]:
    """The category of each task, or the tasks themselves as categories.

    Raises:
        UserError: no category is given where a task has none or several.
    """
    if len(plan.tasks) > 1 and plan.request.category in (None, TASK):
        return [(list(plan.tasks), TASK)]
    return [([one], _category(one, plan.request.category)) for one in plan.tasks]


def _category(labelled: LabelledTask, wanted: str | None) -> str:
    known = sorted({name for one in labelled.volumes for name in one.categories})
    if wanted in known:
        return wanted
    if wanted is None and len(known) == 1:
        return known[0]
    listed = ", ".join(known) or "none; declare one in [categories]"
    problem = "is no category" if wanted else "several or no categories"
    raise UserError(
        f"task {labelled.task.name}: {wanted + ' ' if wanted else ''}{problem}",
        f"use --category with one of: {listed}",
    )


def _unit(plan: Plan, tasks: list[LabelledTask], category: str, contender: Contender, number: int) -> Unit:
    chosen = plan.settings[SECTION]
    if not isinstance(chosen, PaperProbe | StrictProbe):
        raise TypeError("settings of another protocol")
    identity = plan.identity(tasks[0], contender.digest) | {
        "data": [one.digest for one in tasks],
        "version": VERSION,
        "category": category,
        "settings": chosen.model_dump(mode="json"),
        "features": feature_settings(plan, contender),
    }
    return Unit(
        PROTOCOL,
        probed_name(tasks, category),
        contender.name,
        number,
        identity,
        ProbeWork(contender.name, category, number, plan.request.seed, chosen, plan.request.part),
        (*map(task_input, tasks), *(feature_input(one, contender) for one in tasks)),
        {"origin": contender.origin},
    )


LINEAR_PROBE = Protocol(PROTOCOL, settings, units, modes=("strict", "paper"), draws=10)
