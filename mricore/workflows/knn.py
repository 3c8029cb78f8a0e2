"""Nearest neighbours as units: a category of tasks, or all those of a curated dataset, and an encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mricore.config.fields import Frozen
from mricore.config.probes import CuratedSample, Features, NearestNeighbours
from mricore.evaluation.contender import Contender
from mricore.evaluation.features import Parts
from mricore.evaluation.nearest import PROTOCOL, run
from mricore.evaluation.runner import Inputs
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Part
from mricore.evaluation.units import Made, Unit
from mricore.workflows.evaluate import Plan, Protocol, task_input
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.frozen import SECTION as FEATURES
from mricore.workflows.frozen import feature_input, feature_inputs, feature_settings
from mricore.workflows.knn_curated import SECTION as SAMPLE
from mricore.workflows.knn_curated import curated_units
from mricore.workflows.linear_probe import gathered, patients_in, probed_name, told_apart

VERSION = 1
"""Raised when the same settings give other numbers."""
SECTION = "knn"


@dataclass(frozen=True)
class NeighbourWork:
    """Names a category for the slices of a part's patients by their neighbours of other patients.

    Neighbours come from all other patients, of the judged part too, as nothing is chosen on them. Only
    where development patients are judged, by whom choices are made, those of the test part stay away.
    """

    encoder: str
    category: str
    part: Part
    settings: NearestNeighbours

    def __call__(self, *given: LabelledTask | Parts, device: str) -> Made:
        """The unit's result, from tasks and then the features of each.

        All is computed on the CPU whatever the device: a vector per slice is too little for a GPU.
        """
        name, slices = gathered(given, self.category, self.part)
        tasks = [one for one in given if isinstance(one, LabelledTask)]
        judged = np.isin(slices.patients, patients_in(tasks, self.part, self.category))
        return Made(run(self.encoder, name, slices, judged, self.settings))


def settings(request: EvaluationRequest) -> dict[str, Frozen]:
    """Settings by section, for tasks or for a curated dataset."""
    if request.dataset is not None:
        return {SECTION: NearestNeighbours(), SAMPLE: CuratedSample()}
    return {SECTION: NearestNeighbours(), FEATURES: Features(kind="pooled")}


def units(plan: Plan) -> tuple[list[Unit], Inputs]:
    """A unit for each encoder and what is told apart, or for each encoder on the curated dataset.

    Raises:
        UserError: no category is given where a task has none or several, or there is no such category.
    """
    chosen = plan.section(SECTION, NearestNeighbours)
    if plan.curated is not None:
        return curated_units(plan, plan.curated, chosen)
    found = [
        _unit(plan, tasks, category, contender, chosen)
        for tasks, category in told_apart(plan)
        for contender in plan.contenders
    ]
    return found, feature_inputs(plan, grids=False)


def _unit(
    plan: Plan, tasks: list[LabelledTask], category: str, contender: Contender, chosen: NearestNeighbours
) -> Unit:
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
        0,
        identity,
        NeighbourWork(contender.name, category, plan.request.part, chosen),
        (*map(task_input, tasks), *(feature_input(one, contender) for one in tasks)),
        {"origin": contender.origin},
    )


KNN = Protocol(PROTOCOL, settings, units, modes=("strict",), draws=None)
