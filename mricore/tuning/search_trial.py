"""A trial of a search: one whole training, which tells its scores on the way and may be asked to end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray import tune

from mricore.config.overrides import validated
from mricore.config.schema import Recipe
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training import launch
from mricore.training.best import deciding
from mricore.training.launch import PausedError
from mricore.training.telemetry import Tracked, end_run, history
from mricore.tuning.search_halving import PERCENT, STOP, WHOLE, trial_folder
from mricore.tuning.search_results import ENDED, End, State, read_end, write_end
from mricore.tuning.search_scores import Score, Scores, StoppedError, followed, scores_in, stopped
from mricore.tuning.search_space import SCORE
from mricore.tuning.study import TRIAL_CPUS

_OF_MLFLOW: dict[State, str] = {
    "finished": "FINISHED",
    "stopped": "KILLED",
    "ill": "FAILED",
    "failed": "FAILED",
}


@dataclass(frozen=True)
class SearchTrial:
    """What a trial needs, as plain data: Tune carries a dictionary, and stores it beside the trials.

    So the address of MLflow, in which there may be a password, is no part of it.
    """

    number: int
    recipe: dict[str, Any]
    steps: int
    """Of the whole training."""
    run: str
    experiment_id: str
    mlflow_run_id: str
    dataset: str
    runs: str
    folder: str
    """Of the search."""


@dataclass
class _Teller:
    """Tells Tune each score once."""

    steps: int
    told: dict[int, float] = field(default_factory=dict)

    def tell(self, step: int, score: float) -> None:
        """A replayed step counts only the first time."""
        if step not in self.told:
            self.told[step] = score
            tune.report({SCORE: score, PERCENT: WHOLE * step / self.steps})

    @property
    def scores(self) -> tuple[Score, ...]:
        """All that was told."""
        return tuple(sorted(self.told.items()))


def run_trial(config: Mapping[str, Any], tracking_uri: str) -> None:
    """Train, or repeat the scores of a trial that has ended; only a process that dies is left to Tune."""
    trial = SearchTrial(**config)
    tracked = Tracked(tracking_uri, trial.experiment_id, trial.mlflow_run_id)
    folder, teller = trial_folder(Place(trial.folder), trial.number), _Teller(trial.steps)
    before = read_end(folder)
    if before and before.state in ENDED:
        for step, score in before.scores:
            teller.tell(step, score)
        return
    began = time.monotonic()
    end = _ended(trial, tracked, folder, teller)
    with suppress(UserError):  # MLflow may be away: what it does not know is stored here
        end_run(tracked, _OF_MLFLOW[end.state])
    write_end(folder, replace(end, scores=teller.scores, seconds=time.monotonic() - began))


def _ended(trial: SearchTrial, tracked: Tracked, folder: Place, teller: _Teller) -> End:
    try:
        checkpoint = _trained(trial, tracked, folder, teller)
    except StoppedError:
        return End("stopped")
    except PausedError as error:
        return End("ill", f"{error.problem}")
    except UserError as error:
        return End("failed", f"{error.problem} ({error.remedy})")
    except Exception as error:  # noqa: BLE001 - a fault of one trial must not end the others
        return End("failed", f"{type(error).__name__}: a fault of ours, or a process that died")
    if trial.steps not in teller.told:
        return End("failed", "this run was trained without being judged: give the search another seed")
    return End("finished", checkpoint=checkpoint)


def _trained(trial: SearchTrial, tracked: Tracked, folder: Place, teller: _Teller) -> str:
    """The name of the last checkpoint.

    Raises:
        StoppedError: the search asked for it.
    """
    recipe = validated(trial.recipe)
    for step, score in _logged(recipe, tracked):  # what an interrupted search told
        teller.tell(step, score)
    if folder.exists(STOP):
        raise stopped()
    runs = Place(trial.runs)
    record = launch.read_record(runs, trial.run)
    if record and record.checkpoint:  # trained to the end by the same settings elsewhere
        return record.checkpoint
    with tempfile.TemporaryDirectory(prefix="mricore-") as shared, ThreadPoolExecutor(1) as pool:
        file = Path(shared) / "scores"
        training = pool.submit(
            launch.train,
            _with_room_for_trial(recipe),
            Place(trial.dataset),
            runs,
            trial.run,
            tracked,
            callbacks=[Scores(deciding(recipe.train), file, folder)],
        )
        for step, score in followed(file, training):
            teller.tell(step, score)
        name = Path(training.result().path).name
    for step, score in _logged(recipe, tracked):  # one that a kill of the controller kept from being told
        teller.tell(step, score)
    launch.write_record(runs, replace(record or launch.RunRecord(trial.run, tracked.run_id), checkpoint=name))
    return name


def _logged(recipe: Recipe, tracked: Tracked) -> Iterator[Score]:
    """Scores that MLflow has; none while it is away."""
    with suppress(UserError):
        yield from scores_in(history(tracked), deciding(recipe.train))


def _with_room_for_trial(recipe: Recipe) -> Recipe:
    share = recipe.train.cpus_per_worker - TRIAL_CPUS / recipe.train.fewest_workers
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"cpus_per_worker": share})})
