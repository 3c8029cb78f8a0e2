"""The trainings of a study as runs: found again or begun, and trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from mricore.config.schema import Recipe
from mricore.config.study import Study
from mricore.data.manifest import Manifest
from mricore.data.progress import duration
from mricore.data.storage import Place
from mricore.errors import shareable
from mricore.study_records import State
from mricore.training import launch
from mricore.training.checkpoint import Row
from mricore.training.claim import claimed
from mricore.training.kept import KeptEpochs
from mricore.training.launch import RunRecord
from mricore.training.place import Home
from mricore.training.reading import steps_of
from mricore.training.short_runs import teacher_warning
from mricore.training.telemetry import Tracked
from mricore.tuning.study import Outcome, Trial, run_study
from mricore.workflows.runs import latest_run, open_run
from mricore.workflows.study_folder import StudyFolder
from mricore.workflows.study_judging import Judging
from mricore.workflows.study_trainings import Training, alone, without

Failures = list[tuple[str, bool]]
"""What failed, and whether that is a fault of ours."""


@dataclass(frozen=True)
class StudyRun:
    """What a study is made from; without ``tasks`` arms are judged by k-NN on its slices."""

    study: Study
    recipe: str
    assignments: tuple[str, ...]
    home: Home
    dataset: Place
    manifest: Manifest
    judging: Judging
    tasks: tuple[str, ...]
    """Names of the labelled tasks."""
    max_concurrent: int
    untrained: Mapping[str, Recipe]
    """Recipes of the arms that are not trained."""
    told: tuple[str, ...] = ()
    """What the command line said of the judging, as its words."""

    @property
    def runs(self) -> Place:
        """Where runs live."""
        return self.home.runs


@dataclass
class Opened:
    """A training with the record of its run, the run in MLflow, and what was logged there."""

    training: Training
    record: RunRecord
    tracked: Tracked
    rows: Sequence[Row] = ()

    @property
    def arms(self) -> list[str]:
        """Names of the arms that are read from it."""
        return [one.arm for one in self.training.readings]

    @property
    def trial(self) -> Trial:
        """What is trained."""
        return Trial(self.training.recipe, self.record.name, self.tracked)

    def at(self, checkpoint: str) -> RunRecord:
        """The record of the run as if it had ended with a checkpoint."""
        return replace(self.record, checkpoint=checkpoint)


def as_runs_allow(run: StudyRun, trainings: Sequence[Training]) -> list[Training]:
    """Epochs that an earlier run went past without keeping them are trained anew, as runs of their own."""
    found = []
    for training in trainings:
        _, record = latest_run(training.recipe, run.runs, run.manifest)
        lost = _lost_epochs(Place(run.runs.joined(record.name)), training) if record else []
        rest = without(training, lost)
        found += [*([rest] if rest.readings else []), *(alone(training, epoch) for epoch in lost)]
    return found


def untrained_yet(run: StudyRun, trainings: Sequence[Training]) -> list[Training]:
    """Those whose run has not come to its end."""
    records = [latest_run(one.recipe, run.runs, run.manifest)[1] for one in trainings]
    return [
        one for one, record in zip(trainings, records, strict=True) if record is None or not record.checkpoint
    ]


@contextmanager
def held(run: StudyRun, trainings: Sequence[Training]) -> Iterator[None]:
    """No other command begins or trains them meanwhile.

    Raises:
        InUseError: one does.
    """
    with ExitStack() as claims:
        for place in dict.fromkeys(launch.training(run.runs, one.recipe, run.manifest) for one in trainings):
            claims.enter_context(claimed(place))
        yield


def opened(run: StudyRun, training: Training) -> Opened:
    """The training with its run: the latest of this recipe and dataset, or a new one."""
    record, tracked = open_run(
        training.recipe, run.home, run.runs, run.manifest, fresh=False, dataset=run.dataset
    )
    return Opened(training, record, tracked)


def train(run: StudyRun, found: Sequence[Opened], folder: StudyFolder) -> Failures:
    """Train what is not trained yet; records and ``study.json`` follow each training that ends."""
    by_run = {one.record.name: one for one in found}
    failures: Failures = []
    began = {"done": sum(bool(one.record.checkpoint) for one in found)}
    if began["done"]:
        print(f"{began['done']} of {len(found)} trainings are done already", flush=True)

    def ended(outcome: Outcome) -> None:
        one = by_run[outcome.run]
        began["done"] += 1
        _note(run, one, outcome, folder)
        if outcome.problem and not outcome.paused:
            failures.append((f"training of {', '.join(one.arms)}", outcome.is_ours))
        print(_told(one, outcome, began["done"], len(found)), flush=True)

    def told(name: str, line: str) -> None:
        print(f"training {', '.join(by_run[name].arms)}: {line}", flush=True)

    waiting_ones = [one for one in found if not one.record.checkpoint]
    for one in waiting_ones:
        for part in (alone(one.training, epoch) for epoch in one.training.read_after):
            if warning := teacher_warning(part.recipe, steps_of(part.recipe, run.manifest)):
                print(f"{', '.join(reading.arm for reading in part.readings)}: {warning}", flush=True)
    if waiting_ones:
        trials = [one.trial for one in waiting_ones]
        run_study(trials, run.dataset, run.runs, run.max_concurrent, ended, told)
    return failures


def _lost_epochs(place: Place, training: Training) -> list[int]:
    wanted = sorted({one.epoch for one in training.readings if one.epoch < training.epochs})
    if not wanted or not place.exists():
        return []
    passed, kept = launch.epochs_done(place), KeptEpochs(*place.arrow(""))
    return [epoch for epoch in wanted if epoch <= passed and not kept.has(epoch)]


def _note(run: StudyRun, one: Opened, outcome: Outcome, folder: StudyFolder) -> None:
    """Keep how a training ended."""
    if outcome.checkpoint:
        one.record = replace(one.record, checkpoint=outcome.checkpoint)
        launch.write_record(run.runs, one.record)
        folder.change(one.arms, lambda arm: replace(arm, seconds_measured=outcome.seconds))
    else:
        state: State = "ill" if outcome.paused else "failed"
        # what a fault of ours says may name places of the user: it is told, and not kept for the page
        problem = outcome.problem.partition(":")[0] if outcome.is_ours else shareable(outcome.problem)
        folder.change(one.arms, lambda arm: replace(arm, state=state, problem=problem))


def _told(one: Opened, outcome: Outcome, done: int, count: int) -> str:
    names = ", ".join(one.arms)
    if outcome.problem:
        how = "is ill" if outcome.paused else "failed"
        return f"training {done} of {count}: {names}: {how}: {outcome.problem}"
    return f"training {done} of {count}: {names}: done in {duration(outcome.seconds)}"
