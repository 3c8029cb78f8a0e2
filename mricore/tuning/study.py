"""A study: several whole trainings under Ray Tune, each through the same code path as a single one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune

from mricore.config.overrides import validated
from mricore.config.schema import Recipe
from mricore.data.cluster import cluster_cpus, cluster_gpus
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training.launch import train
from mricore.training.telemetry import Tracked

TRIAL_CPUS = 0.01
"""A trial only waits for its workers, but Ray wants a number above zero. It is taken from the workers' share,
so that a study of one training at a time fits where the training alone fits."""


@dataclass(frozen=True)
class Arm:
    """One training of a study: its recipe, the name of its run, and its run in MLflow."""

    name: str
    recipe: Recipe
    run: str
    tracked: Tracked


def run_study(arms: Sequence[Arm], dataset: Place, runs: Place, max_concurrent: int) -> dict[str, str]:
    """Train all arms, at most ``max_concurrent`` at a time; returns the last checkpoint's name of each arm.

    Each arm continues where an earlier, interrupted study left it.

    Raises:
        UserError: the cluster is too small for that many trainings at once, or a training failed.
    """
    check_room(arms, max_concurrent)
    tuner = tune.Tuner(
        tune.with_resources(_trial, {"CPU": TRIAL_CPUS}),
        param_space={"arm": tune.grid_search([_plain(arm, dataset, runs) for arm in arms])},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=max_concurrent,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(name="tune", storage_path=runs.uri, verbose=0),
    )
    results = tuner.fit()
    if results.errors:
        first = next(result.error for result in results if result.error)
        raise RuntimeError(f"{len(results.errors)} of {len(arms)} trainings failed") from first
    return {result.metrics["name"]: result.metrics["checkpoint"] for result in results}


def check_room(arms: Sequence[Arm], max_concurrent: int) -> None:
    """Refuse a study whose trials would wait for each other for ever.

    Raises:
        UserError: more CPUs or GPUs are needed at once than the cluster has.
    """
    settings = [arm.recipe.train for arm in arms]
    cpus = [one.fewest_workers * one.cpus_per_worker for one in settings]
    gpus = [float(one.fewest_workers * one.gpu) for one in settings]
    for needs, there, unit, remedy in (
        (
            cpus,
            cluster_cpus(),
            "CPUs",
            "lower --max-concurrent, --set train.workers or train.cpus_per_worker",
        ),
        (gpus, cluster_gpus(), "GPUs", "lower --max-concurrent or --set train.workers, or train.gpu=false"),
    ):
        needed = sum(sorted(needs, reverse=True)[:max_concurrent])
        if needed > there:
            raise UserError(
                f"{max_concurrent} trainings at once need {needed:g} {unit} and the cluster has {there:g}",
                remedy,
            )


def _plain(arm: Arm, dataset: Place, runs: Place) -> dict[str, Any]:
    """An arm as plain data, which is what Tune carries."""
    return {
        "name": arm.name,
        "recipe": arm.recipe.model_dump(mode="json"),
        "run": arm.run,
        "tracked": asdict(arm.tracked),
        "dataset": dataset.uri,
        "runs": runs.uri,
    }


def _trial(config: Mapping[str, Any]) -> None:
    arm = config["arm"]
    recipe = validated(arm["recipe"])
    share = recipe.train.cpus_per_worker - TRIAL_CPUS / recipe.train.fewest_workers
    checkpoint = train(
        recipe.model_copy(update={"train": recipe.train.model_copy(update={"cpus_per_worker": share})}),
        Place(arm["dataset"]),
        Place(arm["runs"]),
        arm["run"],
        Tracked(**arm["tracked"]),
    )
    tune.report({"name": arm["name"], "checkpoint": Path(checkpoint.path).name})
