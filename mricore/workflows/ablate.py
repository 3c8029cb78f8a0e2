"""An ablation: one training per arm on the same data and seed, judged on the same slices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.config.schema import Recipe
from mricore.data.cluster import ray_session
from mricore.data.manifest import Manifest
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training import launch
from mricore.training.launch import RunRecord
from mricore.training.place import Home, home
from mricore.training.telemetry import end_run, require_tracking
from mricore.training.validation import with_labelled_task
from mricore.tuning.study import Arm, run_study
from mricore.workflows.dataset import curated_dataset
from mricore.workflows.initial import with_weights
from mricore.workflows.judgement import judge_run
from mricore.workflows.runs import open_run

_COMMA = re.compile(r",(?![^\[]*\])")  # not inside a list
PAPER_ARMS = {"lr 4e-4": ("optimizer.lr=4e-4",), "lr 4e-3": ("optimizer.lr=4e-3",)}
"""The learning rates of paper section 2.1.1, the default study."""


ILL_ARMS_GO_ON = ("health.action=log",)
"""A study has losing arms; one that is ill is a result and must not stop the others."""


@dataclass(frozen=True)
class AblationRequest:
    """The command line of ``tune/ablate.py``; ``arms`` maps a name to settings."""

    recipe: str
    assignments: tuple[str, ...]
    arms: Mapping[str, tuple[str, ...]]
    data: str | None
    out: str | None
    key_file: Path
    max_concurrent: int


def ablate(request: AblationRequest) -> dict[str, list[str]]:
    """Train every arm, judge it, print one table; returns the score lines of each arm.

    Raises:
        UserError: a setting, the data or the size of the cluster does not allow the study.
    """
    recipes = _recipes(request)
    where = home(request.out)
    where.outputs.require_writable()
    require_tracking(where)
    recipes = {
        name: with_weights(with_labelled_task(recipe), where.outputs) for name, recipe in recipes.items()
    }
    with ray_session():
        policy = next(iter(recipes.values())).curation
        dataset, manifest = curated_dataset(request.data, where.outputs, policy, request.key_file)
        lines = _trained_and_judged(recipes, where, dataset, manifest, request.max_concurrent)
    for name, scores in lines.items():
        print(f"{name}:")
        print("\n".join(f"  {score}" for score in scores))
    return lines


def parse_arms(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``NAME=setting=value,setting=value`` for each arm.

    Raises:
        UserError: there is no name or no setting, or a name occurs twice.
    """
    arms: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, separator, settings = text.partition("=")
        if not separator or "=" not in settings or name in arms:
            raise UserError(
                f"--arm {text!r} is not a new NAME=setting=value", "e.g. --arm low=optimizer.lr=1e-4"
            )
        arms[name] = tuple(_COMMA.split(settings))
    return arms


def _recipes(request: AblationRequest) -> dict[str, Recipe]:
    """The recipe of each arm.

    Raises:
        UserError: two arms are the same, or an arm would need data of its own.
    """
    base = recipe_named(request.recipe)
    recipes = {
        name: apply_overrides(base, [*ILL_ARMS_GO_ON, *request.assignments, *settings])
        for name, settings in (request.arms or PAPER_ARMS).items()
    }
    if len({recipe.curation for recipe in recipes.values()}) > 1:
        raise UserError(
            "arms differ in curation", "arms share one dataset: give curation settings with --set"
        )
    if len({launch.identity(recipe) for recipe in recipes.values()}) < len(recipes):
        raise UserError("two arms have the same settings", "leave one of them out")
    return recipes


def _trained_and_judged(
    recipes: Mapping[str, Recipe], where: Home, dataset: Place, manifest: Manifest, max_concurrent: int
) -> dict[str, list[str]]:
    runs = Place(where.outputs.joined("runs"))
    records: dict[str, RunRecord] = {}
    arms = []
    for name, recipe in recipes.items():
        records[name], tracked = open_run(recipe, where, runs, manifest, fresh=False)
        arms.append(Arm(name, recipe, records[name].name, tracked))
    open_arms = [arm for arm in arms if not records[arm.name].checkpoint]
    for name, checkpoint in (
        run_study(open_arms, dataset, runs, max_concurrent) if open_arms else {}
    ).items():
        records[name] = replace(records[name], checkpoint=checkpoint)
        launch.write_record(runs, records[name])
    lines = {}
    for arm in arms:
        with launch.open_checkpoint(runs, records[arm.name]).as_directory() as folder:
            judgement = judge_run(Path(folder), arm.recipe, dataset, manifest)
        lines[arm.name] = [str(score) for score in judgement.scores]
        end_run(arm.tracked, "FINISHED")
    return lines
