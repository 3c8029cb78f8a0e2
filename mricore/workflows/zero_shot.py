"""Zero-shot clusters (paper sections 2.3 and 4.4) as units: a task, a start of k-means, an encoder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mricore.config.fields import Frozen
from mricore.config.probes import Clusters, Features
from mricore.evaluation.clusters import PROTOCOL, Outcome, run
from mricore.evaluation.features import Parts, pixels_of
from mricore.evaluation.pictures import Shown, shown, slices_to_show
from mricore.evaluation.runner import Inputs
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Part
from mricore.evaluation.tasks.volume import SliceKey
from mricore.evaluation.units import Made, Unit
from mricore.workflows.evaluate import Plan, Protocol, task_input
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.frozen import SECTION as FEATURES
from mricore.workflows.frozen import feature_input, feature_inputs, feature_settings

VERSION = 1
"""Raised when the same settings give other numbers."""
SECTION = "clusters"
PIXELS = "raw pixels"
"""The baseline of the paper, which needs no encoder."""
SCOPES = {"paper": "image", "strict": "transferred"}


@dataclass(frozen=True)
class ClusterWork:
    """Clusters the slices of a part and scores the clusters."""

    encoder: str
    draw: int
    seed: int
    settings: Clusters
    part: Part

    def __call__(self, labelled: LabelledTask, *parts: Parts, device: str) -> Made:
        """The unit's result, from features or, without any, from pixels; k-means runs on ``device``."""
        volumes = labelled.of(self.part)
        keys = slices_to_show(volumes)
        features = parts[0].of if parts else pixels_of(labelled.volumes, self.settings.pixel_size).__getitem__
        given = self.encoder, features, labelled, self.draw, self.seed, self.settings, self.part, keys
        outcome = run(*given, device=device)
        return Made(outcome.rows, list(_pictures(labelled, outcome, keys)))


def _pictures(labelled: LabelledTask, outcome: Outcome, keys: Iterable[SliceKey]) -> Iterable[Shown]:
    for key in keys:
        layers = {f"k={count}": maps[key] for count, maps in outcome.maps.items() if key in maps}
        image, mask = labelled.slice(key)
        spacing = next(one.spacing for one in labelled.volumes if one.case == key.case)
        yield shown(labelled.task.name, key, image, mask, layers, spacing)


def settings(request: EvaluationRequest) -> dict[str, Frozen]:
    """Settings by section: "paper" reads what clusters mean off the truth, "strict" off other patients."""
    clusters = Clusters.model_validate({"scope": SCOPES[request.mode]})
    return {SECTION: clusters, FEATURES: Features(kind="dense")}


def units(plan: Plan) -> tuple[list[Unit], Inputs]:
    """All units, with raw pixels as a competitor."""
    found = []
    for number in range(plan.request.draws):
        for labelled in plan.tasks:
            for contender in plan.contenders:
                digest, kept = contender.digest, (feature_input(labelled, contender),)
                told = {"origin": contender.origin}, feature_settings(plan, contender)
                found.append(_unit(plan, labelled, number, contender.name, digest, kept, *told))
            found.append(_unit(plan, labelled, number, PIXELS, PIXELS, (), {"origin": PIXELS}, {}))
    return found, feature_inputs(plan, grids=True)


def _unit(
    plan: Plan,
    labelled: LabelledTask,
    number: int,
    name: str,
    digest: str,
    features: tuple[str, ...],
    facts: dict[str, Any],
    feature_facts: dict[str, Any],
) -> Unit:
    chosen, request = plan.section(SECTION, Clusters), plan.request
    own = {"version": VERSION, "settings": chosen.model_dump(mode="json"), "features": feature_facts}
    return Unit(
        PROTOCOL,
        labelled.task.name,
        name,
        number,
        plan.identity(labelled, digest, **own),
        ClusterWork(name, number, request.seed, chosen, request.part),
        (task_input(labelled), *features),
        facts,
    )


ZERO_SHOT = Protocol(PROTOCOL, settings, units, modes=("paper", "strict"), draws=1)
