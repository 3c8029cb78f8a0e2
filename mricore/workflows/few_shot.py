"""Few-shot segmentation (paper sections 2.1 and 4.3.1) as units: a task, a draw, an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from mricore.config.few_shot import FewShot, few_shot
from mricore.config.fields import Frozen
from mricore.config.nnunet import NnUnet
from mricore.evaluation import nnunet
from mricore.evaluation.contender import Contender
from mricore.evaluation.few_shot.run import PROTOCOL, run_draw
from mricore.evaluation.runner import Inputs
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Draw, Part
from mricore.evaluation.units import Made, Unit
from mricore.workflows.evaluate import Plan, Protocol, encoder_input, task_input
from mricore.workflows.evaluation_arguments import EvaluationRequest

VERSION = 2
"""Raised when the same settings give other numbers."""
SECTION, COMPETITOR = "few_shot", "nnunet"


@dataclass(frozen=True)
class FewShotWork:
    """Adapts an encoder on a draw and judges it."""

    settings: FewShot
    draw: Draw
    part: Part

    def __call__(self, contender: Contender, labelled: LabelledTask, *, device: str) -> Made:
        """The unit's result; the encoder is computed on ``device``."""
        moved = replace(contender, embedder=contender.embedder.to(device))
        outcome = run_draw(moved, labelled, self.draw, self.settings, self.part)
        curve = {
            "points": [asdict(point) for point in outcome.curve],
            "best_epoch": outcome.best_epoch,
            "steps": outcome.steps,
        }
        return Made(outcome.rows, outcome.predictions, curve)


@dataclass(frozen=True)
class NnUnetWork:
    """Trains nnU-Net on a draw and judges it."""

    few_shot: FewShot
    settings: NnUnet
    threads: int
    draw: Draw
    part: Part

    def __call__(self, labelled: LabelledTask, *, device: str) -> Made:
        """The unit's result."""
        return nnunet.run_draw(
            labelled,
            self.draw,
            self.few_shot,
            self.settings,
            device=device,
            threads=self.threads,
            part=self.part,
        )


def settings(request: EvaluationRequest) -> dict[str, Frozen]:
    """Settings by section for a mode."""
    adapted = few_shot(request.mode).model_copy(update={"seed": request.seed})
    return {SECTION: adapted, **({COMPETITOR: NnUnet()} if request.nnunet else {})}


def units(plan: Plan) -> tuple[list[Unit], Inputs]:
    """All units, draw after draw, so that an evaluation that is stopped has compared all encoders alike.

    Raises:
        UserError: a task has too few patients or slices for a draw, or nnU-Net is missing.
    """
    version = nnunet.installed_version(plan.section(COMPETITOR, NnUnet)) if plan.request.nnunet else ""
    found = [
        unit
        for number in range(plan.request.draws)
        for labelled in plan.tasks
        for unit in _of_draw(plan, labelled, draw(labelled, number, plan.request.seed), version)
    ]
    return found, {}


def _of_draw(plan: Plan, labelled: LabelledTask, drawn: Draw, version: str) -> Iterator[Unit]:
    chosen, part = plan.section(SECTION, FewShot), plan.request.part
    # how much is kept in memory changes no number
    settled = chosen.model_dump(mode="json", exclude={"kept_gib"})
    named: dict[str, Any] = {"version": VERSION, "settings": settled}
    for contender in plan.contenders:
        yield Unit(
            PROTOCOL,
            labelled.task.name,
            contender.name,
            drawn.number,
            plan.identity(labelled, contender.digest, **named),
            FewShotWork(chosen, drawn, part),
            (encoder_input(contender), task_input(labelled)),
            {"origin": contender.origin},
        )
    if version:
        yield _competitor(plan, labelled, drawn, version, named)


def _competitor(plan: Plan, labelled: LabelledTask, drawn: Draw, version: str, named: dict[str, Any]) -> Unit:
    settings, threads = plan.section(COMPETITOR, NnUnet), plan.running.threads
    lengths = settings.model_dump(mode="json", exclude={"python"})
    # one thread augments in the process that trains, more in others, which draw other numbers
    lengths["threads"] = threads
    chosen, part = plan.section(SECTION, FewShot), plan.request.part
    return Unit(
        PROTOCOL,
        labelled.task.name,
        nnunet.NAME,
        drawn.number,
        plan.identity(labelled, f"nnunetv2 {version}", **named, nnunet=lengths),
        NnUnetWork(chosen, settings, threads, drawn, part),
        (task_input(labelled),),
        {"origin": f"nnunetv2 {version}, no pretraining"},
    )


FEW_SHOT = Protocol(PROTOCOL, settings, units, modes=("strict", "paper", "cpu"), draws=10)
