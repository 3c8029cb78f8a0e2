"""Patch probes as units: a task, a draw of a few slices, a frozen encoder."""

from __future__ import annotations

from dataclasses import dataclass

from mricore.config.fields import Frozen
from mricore.config.probes import Features, PatchProbe
from mricore.evaluation.contender import Contender
from mricore.evaluation.features import Parts
from mricore.evaluation.patch_probe import PROTOCOL, run_draw
from mricore.evaluation.pictures import PREDICTION, shown, slices_to_show
from mricore.evaluation.runner import Inputs
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Draw, Part
from mricore.evaluation.units import Made, Unit
from mricore.workflows.evaluate import Plan, Protocol, task_input
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.frozen import SECTION as FEATURES
from mricore.workflows.frozen import feature_input, feature_inputs, feature_settings

VERSION = 1
"""Raised when the same settings give other numbers."""
SECTION = "patch_probe"


@dataclass(frozen=True)
class PatchProbeWork:
    """Learns from the patches of a draw's slices and segments a part."""

    encoder: str
    draw: Draw
    settings: PatchProbe
    part: Part

    def __call__(self, labelled: LabelledTask, parts: Parts, *, device: str) -> Made:
        """The unit's result; its head is computed on ``device``."""
        given = self.encoder, parts.of, labelled, self.draw, self.settings, self.part
        outcome = run_draw(*given, device=device)
        spacing = {one.case: one.spacing for one in labelled.volumes}
        pictures = []
        for key in slices_to_show(labelled.of(self.part)):
            image, mask = labelled.slice(key)
            layers = {PREDICTION: outcome.predictions[key.case][key.index]}
            pictures.append(shown(labelled.task.name, key, image, mask, layers, spacing[key.case]))
        return Made(outcome.rows, pictures, {"l2": outcome.l2})


def settings(request: EvaluationRequest) -> dict[str, Frozen]:
    """Settings by section; the mode is the head."""
    return {SECTION: PatchProbe.model_validate({"head": request.mode}), FEATURES: Features(kind="dense")}


def units(plan: Plan) -> tuple[list[Unit], Inputs]:
    """All units, with the same draws for all encoders.

    Raises:
        UserError: a task has too few patients or slices for a draw.
    """
    found = [
        _unit(plan, labelled, drawn, contender)
        for number in range(plan.request.draws)
        for labelled in plan.tasks
        for drawn in (draw(labelled, number, plan.request.seed),)
        for contender in plan.contenders
    ]
    return found, feature_inputs(plan, grids=True)


def _unit(plan: Plan, labelled: LabelledTask, drawn: Draw, contender: Contender) -> Unit:
    chosen, part = plan.section(SECTION, PatchProbe), plan.request.part
    named = {
        "version": VERSION,
        "settings": chosen.model_dump(mode="json"),
        "features": feature_settings(plan, contender),
    }
    return Unit(
        PROTOCOL,
        labelled.task.name,
        contender.name,
        drawn.number,
        plan.identity(labelled, contender.digest, **named),
        PatchProbeWork(contender.name, drawn, chosen, part),
        (task_input(labelled), feature_input(labelled, contender)),
        {"origin": contender.origin},
    )


PATCH_PROBE = Protocol(PROTOCOL, settings, units, modes=("linear", "knn"), draws=10)
