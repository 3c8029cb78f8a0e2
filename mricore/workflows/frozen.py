"""Features of frozen encoders for the protocols that share them: computed once, when a unit needs them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from mricore.config.probes import Features, Grid, Vector
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.evaluation.contender import Contender
from mricore.evaluation.features import Parts, frozen_features
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.workflows.evaluate import Plan

FOLDER = "features"
SECTION = "features"
BATCHING = {"source", "batch", "slices_per_task", "cpus", "gpus"}
"""Settings of where features are computed, which change no number."""


def fitting(features: Features, contender: Contender) -> Features:
    """The settings with the multiple of the encoder's patch that is nearest to the image size."""
    patch = contender.embedder.settings.patch
    return features.model_copy(update={"image_size": max(1, round(features.image_size / patch)) * patch})


def feature_inputs(plan: Plan, grids: bool) -> dict[str, Callable[[], Any]]:
    """The features of each encoder on each task, for units to name: grids of patches, or vectors of slices.

    Raises:
        UserError: features of the other sort were asked for.
    """
    kind = plan.section(SECTION, Features).kind
    wanted = get_args(Grid if grids else Vector)
    if kind not in wanted:
        per = "patch" if grids else "slice"
        raise UserError(
            f"features of kind {kind} are not one per {per}", f"set features.kind to {' or '.join(wanted)}"
        )
    return {
        feature_input(labelled, contender): partial(_computed, plan, labelled, contender)
        for labelled in plan.tasks
        for contender in plan.contenders
    }


def feature_input(labelled: LabelledTask, contender: Contender) -> str:
    """The name of an encoder's features of a task among the inputs of units."""
    return f"features of {contender.name} on {labelled.task.name}"


def feature_settings(plan: Plan, contender: Contender) -> dict[str, Any]:
    """What features depend on."""
    return fitting(plan.section(SECTION, Features), contender).model_dump(mode="json", exclude=BATCHING)


def _computed(plan: Plan, labelled: LabelledTask, contender: Contender) -> Parts:
    print(f"features: {contender.name} on {labelled.task.name}", flush=True)
    shared = plan.request.features
    cache = Place(plan.out.joined(FOLDER)) if shared is None else place(shared)
    chosen = fitting(plan.section(SECTION, Features), contender)
    return frozen_features(contender, labelled, chosen, cache)
