"""A study: several whole trainings under Ray Tune, each through the same code path as a single one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ray import tune

from mricore.config.overrides import validated
from mricore.config.schema import Recipe
from mricore.data.cluster import cluster_cpus, cluster_gpus
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training.launch import PausedError, gpus_needed, train
from mricore.training.telemetry import Tracked
from mricore.training.terminal import Tell
from mricore.tuning.quiet import quiet_tune
from mricore.tuning.unstored import Unstored

TRIAL_CPUS = 0.01
"""A trial only waits for its workers, but Ray wants a number above zero. It is taken from the workers' share,
so that a study of one training at a time fits where the training alone fits."""
TRIAL_FAILURES = 2
"""How often a trial whose own process dies begins again, from its last checkpoint."""
LOOK = 1.0
"""Seconds that a trial waits for a line of its training before it looks whether that has ended."""
LINE, OUTCOME = "line", "outcome"
"""What a trial reports to Tune: lines on the way, and at last how it ended."""


@dataclass(frozen=True)
class Trial:
    """One training of a study: its recipe, the name of its run, and its run in MLflow."""

    recipe: Recipe
    run: str
    tracked: Tracked


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: with the last checkpoint's name, or with a problem in one line.

    ``paused``: the training stopped itself, as it was ill. ``is_ours``: nothing that the user gave is to
    blame. ``seconds`` are those of the training in this process.
    """

    run: str
    checkpoint: str = ""
    problem: str = ""
    paused: bool = False
    is_ours: bool = False
    seconds: float = 0.0


def run_study(
    trials: Sequence[Trial],
    dataset: Place,
    runs: Place,
    max_concurrent: int,
    ended: Callable[[Outcome], None],
    told: Callable[[str, str], None],
) -> dict[str, Outcome]:
    """Train all, at most ``max_concurrent`` at a time; what became of each, by the name of its run.

    Each trial continues where an earlier, interrupted study left it, and one that fails stops no other.
    ``ended`` is called here with each as it ends, and ``told`` with a run and a line of its progress.

    Raises:
        UserError: the cluster is too small for that many trainings at once.
        KeyboardInterrupt: ctrl-C; the study can go on.
    """
    check_room(trials, max_concurrent)
    watch = _Watch(ended, told)
    tracked = {one.run: one.tracked for one in trials}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, tracked=tracked), {"CPU": TRIAL_CPUS}),
        param_space={"trial": tune.grid_search([_plain(one, dataset, runs) for one in trials])},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=max_concurrent,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=runs.uri,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
            callbacks=[watch],
        ),
    )
    with quiet_tune():
        tuner.fit()
    if len(watch.outcomes) < len(trials):  # ctrl-C ends Tune as if all were well
        raise KeyboardInterrupt
    return watch.outcomes


def check_room(trials: Sequence[Trial], max_concurrent: int) -> None:
    """Refuse a study whose trials would wait for each other for ever.

    Raises:
        UserError: more CPUs or GPUs are needed at once than the cluster has.
    """
    settings = [one.recipe.train for one in trials]
    cpus = [one.fewest_workers * one.cpus_per_worker for one in settings]
    gpus = [gpus_needed(one) for one in settings]
    for needs, there, unit, remedy in (
        (
            cpus,
            cluster_cpus(),
            "CPUs",
            "lower --max-concurrent, --set train.workers or train.cpus_per_worker",
        ),
        (
            gpus,
            cluster_gpus(),
            "GPUs",
            "lower --max-concurrent, --set train.workers or train.gpus_per_worker, or train.gpu=false",
        ),
    ):
        needed = sum(sorted(needs, reverse=True)[:max_concurrent])
        if needed > there:
            raise UserError(
                f"{max_concurrent} trainings at once need {needed:g} {unit} and the cluster has {there:g}",
                remedy,
            )


class _Watch(Unstored, tune.Callback):
    """Collects outcomes as trials end, in the process that called."""

    def __init__(self, ended: Callable[[Outcome], None], told: Callable[[str, str], None]) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._ended, self._told = ended, told

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """A trial reported a line, or its end."""
        if LINE in result:
            self._told(trial.config["trial"]["run"], result[LINE])

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial reported how it ended."""
        self._note(Outcome(**trial.last_result[OUTCOME]))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial's own process died too often."""
        self._note(Outcome(trial.config["trial"]["run"], problem="its process died", is_ours=True))

    def _note(self, outcome: Outcome) -> None:
        self.outcomes[outcome.run] = outcome
        self._ended(outcome)


def _plain(trial: Trial, dataset: Place, runs: Place) -> dict[str, Any]:
    """A trial as plain data. Tune stores it beside the runs, so the address of MLflow, in which there may be
    a password, goes another way (``tracked`` of ``_trial``): through Ray's object store."""
    return {
        "recipe": trial.recipe.model_dump(mode="json"),
        "run": trial.run,
        "dataset": dataset.uri,
        "runs": runs.uri,
    }


def _trial(config: Mapping[str, Any], tracked: Mapping[str, Tracked]) -> None:
    """Train, and report how it goes and how it ended: only a process that dies is left to Tune."""
    trial, began = config["trial"], time.monotonic()
    lines: SimpleQueue[str] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(_trained, trial, tracked[trial["run"]], lines.put)
        for line in _until_done(lines, training):
            tune.report({LINE: line})
    outcome = replace(_outcome(trial["run"], training), seconds=time.monotonic() - began)
    tune.report({OUTCOME: asdict(outcome)})


def _until_done(lines: SimpleQueue[str], training: Future[str]) -> Iterator[str]:
    """The lines as they come, to the last."""
    while not training.done() or not lines.empty():
        with suppress(Empty):
            yield lines.get(timeout=LOOK)


def _outcome(run: str, training: Future[str]) -> Outcome:
    outcome = Outcome(run)
    try:
        return replace(outcome, checkpoint=training.result())
    except UserError as error:
        problem = f"{error.problem} ({error.remedy})"
        return replace(outcome, problem=problem, paused=isinstance(error, PausedError))
    except Exception as error:  # noqa: BLE001 - a fault of one trial must not end the others
        return replace(outcome, problem=_in_one_line(error), is_ours=True)


def _trained(trial: Mapping[str, Any], tracked: Tracked, tell: Tell) -> str:
    """The name of the checkpoint to ship."""
    recipe = validated(trial["recipe"])
    share = recipe.train.cpus_per_worker - TRIAL_CPUS / recipe.train.fewest_workers
    checkpoint = train(
        recipe.model_copy(update={"train": recipe.train.model_copy(update={"cpus_per_worker": share})}),
        Place(trial["dataset"]),
        Place(trial["runs"]),
        trial["run"],
        tracked,
        tell=tell,
    )
    return Path(checkpoint.path).name


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
