"""A search: trials with settings of a space under Ray Tune, each a whole training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ray import tune
from ray.tune.schedulers import FIFOScheduler

from mricore.config.schema import Recipe
from mricore.config.search import Settings, Space
from mricore.data.storage import Place
from mricore.training.telemetry import Tracked
from mricore.tuning.quiet import quiet_tune
from mricore.tuning.search_halving import EndsItself, trial_folder
from mricore.tuning.search_proposals import Prepare, Proposals
from mricore.tuning.search_results import ENDED, End, TrialResult, read_end, read_proposal
from mricore.tuning.search_space import SCORE, AtRandom, ByOptuna, Source
from mricore.tuning.search_trial import run_trial
from mricore.tuning.study import TRIAL_CPUS, TRIAL_FAILURES, Trial, check_room
from mricore.tuning.unstored import Unstored

SEARCHERS = ("random", "bayes")
SCHEDULERS = ("none", "asha")


@dataclass(frozen=True)
class Search:
    """What is searched, and where it is kept."""

    space: Space
    searcher: Literal["random", "bayes"]
    scheduler: Literal["none", "asha"]
    samples: int
    max_concurrent: int
    seed: int
    folder: Place


def run_search(
    search: Search, recipe: Recipe, tracking_uri: str, prepare: Prepare, ended: Callable[[int], object]
) -> None:
    """Run the trials that have not ended, and let those that have tell their scores again.

    So a search that was interrupted comes to the scheduler and the searcher as if it had not been.
    ``ended`` is called with the number of each trial after its end.

    Raises:
        UserError: the cluster is too small for that many trainings at once.
    """
    if all_ended(search):
        return
    check_room([Trial(recipe, "", Tracked("", "", ""))] * search.max_concurrent, search.max_concurrent)
    scheduler = EndsItself(search.space.halving, search.folder)
    trainable = tune.with_parameters(run_trial, tracking_uri=tracking_uri)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": TRIAL_CPUS}),
        tune_config=tune.TuneConfig(
            metric=SCORE,
            mode="max",
            num_samples=search.samples,
            max_concurrent_trials=search.max_concurrent,
            search_alg=Proposals(source_of(search), prepare),
            scheduler=scheduler if search.scheduler == "asha" else FIFOScheduler(),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=search.folder.uri,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
            callbacks=[_Ends(ended)],
        ),
    )
    with quiet_tune():
        tuner.fit()


def all_ended(search: Search) -> bool:
    """Whether all trials that are asked for have come to an end."""
    ended = [one for one in results_in(search.folder)[: search.samples] if one.end.state in ENDED]
    return len(ended) == search.samples


def source_of(search: Search) -> Source:
    """Where proposals come from; Optuna is first given those that were made before."""
    if search.searcher == "random":
        return AtRandom(search.space, search.seed)
    return ByOptuna(search.space, search.seed, known_settings(search.folder))


def known_settings(folder: Place) -> list[Settings]:
    """Those of the trials that were proposed before, by number."""
    return [one.proposal.settings for one in results_in(folder)]


def results_in(folder: Place) -> list[TrialResult]:
    """All trials that were proposed, by number.

    Raises:
        UserError: a file of theirs is damaged.
    """
    found: list[TrialResult] = []
    while (proposal := read_proposal(trial := trial_folder(folder, len(found)))) is not None:
        found.append(TrialResult(proposal, read_end(trial) or End("waiting")))
    return found


class _Ends(Unstored, tune.Callback):
    """Tells when a trial has ended."""

    def __init__(self, ended: Callable[[int], object]) -> None:
        self._ended = ended

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial ended by itself."""
        self._ended(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial's own process died too often."""
        self._ended(trial.config["number"])
