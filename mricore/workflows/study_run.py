"""A study from its trainings to its page; each step is skipped if it is done already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mricore.config.study import Study
from mricore.data.manifest import Manifest
from mricore.data.progress import duration
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.evaluation.measurements import Measurement
from mricore.objective.health import signs_in
from mricore.registry.studied import adopt, log_scores, open_parent
from mricore.revision import code_revision
from mricore.study_records import ArmResult, State, StudyResult
from mricore.training import launch
from mricore.training.checkpoint import Row
from mricore.training.kept import KeptEpochs, kept_name
from mricore.training.launch import RunRecord
from mricore.training.place import Home
from mricore.training.telemetry import Tracked, end_run, history
from mricore.tuning.study import Outcome, Trial, check_room, run_study
from mricore.workflows.judgement import judge_run
from mricore.workflows.runs import open_run
from mricore.workflows.study_evaluation import Judging, answers, answers_text, judge_arms, scores_of
from mricore.workflows.study_folder import StudyFolder, carried, declared, earlier, study_place, waiting
from mricore.workflows.study_page import write_page
from mricore.workflows.study_trainings import Training, alone, without

Failures = list[tuple[str, bool]]
"""What failed, and whether that is a fault of ours."""


@dataclass(frozen=True)
class StudyRun:
    """What a study is made from; without ``judging.tasks`` arms are judged by k-NN on its slices."""

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

    @property
    def runs(self) -> Place:
        """Where runs live."""
        return Place(self.home.outputs.joined("runs"))


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


def run_all(run: StudyRun, trainings: Sequence[Training]) -> tuple[StudyResult, Failures]:
    """Train, judge, compare, log and report; what is known in the end, and what failed.

    Raises:
        UserError: a place, the tracking server or the cluster cannot be used.
    """
    trainings = _as_runs_allow(run, trainings)
    check_room([Trial(one.recipe, "", Tracked("", "", "")) for one in trainings], run.max_concurrent)
    opened = [_opened(run, one) for one in trainings]
    folder, parent = _begun(run, opened)
    failures = _train(run, opened, folder)
    failures += _read_encoders(run, opened, folder)
    rows: list[Measurement] = []
    if run.tasks:
        rows, unjudged = _judge(run, opened, folder)
        failures += unjudged
    else:
        _judge_by_neighbours(run, opened, folder)
    recipes = {arm: one.training.recipe for one in opened for arm in one.arms}
    write_page(folder, parent, recipes, {one.record.name: one.rows for one in opened}, rows, run.manifest)
    for one in opened:
        end_run(one.tracked, "FINISHED" if one.record.checkpoint else "FAILED")
    end_run(parent, "FAILED" if failures else "FINISHED")
    return folder.result, failures


def _as_runs_allow(run: StudyRun, trainings: Sequence[Training]) -> list[Training]:
    """Epochs that an earlier run went past without keeping them are trained anew, as runs of their own."""
    found = []
    for training in trainings:
        name = launch.run_name(training.recipe, run.manifest)
        lost = _lost_epochs(Place(run.runs.joined(name)), training)
        rest = without(training, lost)
        found += [*([rest] if rest.readings else []), *(alone(training, epoch) for epoch in lost)]
    return found


def _lost_epochs(place: Place, training: Training) -> list[int]:
    wanted = sorted({one.epoch for one in training.readings if one.epoch < training.epochs})
    if not wanted or not place.exists():
        return []
    passed, kept = launch.epochs_done(place), KeptEpochs(*place.arrow(""))
    return [epoch for epoch in wanted if epoch <= passed and not kept.has(epoch)]


def _opened(run: StudyRun, training: Training) -> Opened:
    record, tracked = open_run(
        training.recipe, run.home, run.runs, run.manifest, fresh=False, dataset=run.dataset
    )
    return Opened(training, record, tracked)


def _begun(run: StudyRun, opened: Sequence[Opened]) -> tuple[StudyFolder, Tracked]:
    """The study's folder and its run in MLflow, with the trainings' runs as its children."""
    place = study_place(run.home.outputs, run.study.name)
    before = earlier(place)
    result = carried(declared(run.study, run.recipe, run.assignments, _arms(run, opened)), before)
    tags = {
        "mricore.study": run.study.name,
        "manifest_digest": run.manifest.digest,
        "code_revision": code_revision(),
    }
    experiment = opened[0].training.recipe.tracking.experiment
    known = before.mlflow_run_id if before else ""
    parent = open_parent(run.home, experiment, run.study.name, tags, known)
    for one in opened:
        adopt(parent, one.tracked)
    folder = StudyFolder(place, result)
    folder.write(
        manifest_digest=run.manifest.digest,
        slices=run.manifest.counts.get("slices", 0),
        generated_phantoms=run.manifest.generated_phantoms,
        code_revision=code_revision(),
        mlflow_run_id=parent.run_id,
    )
    return folder, parent


def _arms(run: StudyRun, opened: Sequence[Opened]) -> list[ArmResult]:
    """In the order of the study."""
    read = {reading.arm: (one, reading.epoch) for one in opened for reading in one.training.readings}
    found = []
    for spec in run.study.arms:
        one, epoch = read[spec.name]
        found.append(
            waiting(
                run.study,
                spec.name,
                run.recipe,
                run=one.record.name,
                mlflow_run_id=one.record.mlflow_run_id,
                epoch=epoch,
                epochs=one.training.epochs,
            )
        )
    return found


def _train(run: StudyRun, opened: Sequence[Opened], folder: StudyFolder) -> Failures:
    """Train what is not trained yet; records and ``study.json`` follow each training that ends."""
    by_run = {one.record.name: one for one in opened}
    failures: Failures = []
    began = {"done": sum(bool(one.record.checkpoint) for one in opened)}
    if began["done"]:
        print(f"{began['done']} of {len(opened)} trainings are done already", flush=True)

    def ended(outcome: Outcome) -> None:
        one = by_run[outcome.run]
        began["done"] += 1
        _note(run, one, outcome, folder)
        if outcome.problem and not outcome.paused:
            failures.append((f"training of {', '.join(one.arms)}", outcome.is_ours))
        print(_told(one, outcome, began["done"], len(opened)), flush=True)

    waiting_ones = [one.trial for one in opened if not one.record.checkpoint]
    if waiting_ones:
        run_study(waiting_ones, run.dataset, run.runs, run.max_concurrent, ended)
    return failures


def _note(run: StudyRun, one: Opened, outcome: Outcome, folder: StudyFolder) -> None:
    """Keep how a training ended."""
    if outcome.checkpoint:
        one.record = replace(one.record, checkpoint=outcome.checkpoint)
        launch.write_record(run.runs, one.record)
        folder.change(one.arms, lambda arm: replace(arm, seconds_measured=outcome.seconds))
    else:
        state: State = "ill" if outcome.paused else "failed"
        # what a fault of ours says may name places of the user: it is told, and not kept for the page
        problem = outcome.problem.partition(":")[0] if outcome.is_ours else outcome.problem
        folder.change(one.arms, lambda arm: replace(arm, state=state, problem=problem))


def _told(one: Opened, outcome: Outcome, done: int, count: int) -> str:
    names = ", ".join(one.arms)
    if outcome.problem:
        how = "is ill" if outcome.paused else "failed"
        return f"training {done} of {count}: {names}: {how}: {outcome.problem}"
    return f"training {done} of {count}: {names}: done in {duration(outcome.seconds)}"


def _read_encoders(run: StudyRun, opened: Sequence[Opened], folder: StudyFolder) -> Failures:
    """The encoder of each arm, out of the checkpoint after its epoch; of a broken training those before."""
    failures: Failures = []
    for one in opened:
        one.rows = history(one.tracked)
        for reading in one.training.readings:
            checkpoint = _checkpoint(run, one, reading.epoch)
            if checkpoint:
                try:
                    _read(run, one, reading.arm, checkpoint, folder)
                except UserError as error:
                    _fail(folder, reading.arm, error)
                    failures.append((f"encoder of {reading.arm}", False))
    return failures


def _checkpoint(run: StudyRun, one: Opened, epoch: int) -> str:
    """The folder of a run that holds the checkpoint after an epoch; empty if the run did not come so far."""
    if epoch == one.training.epochs:
        return one.record.checkpoint
    place = Place(run.runs.joined(one.record.name))
    return kept_name(epoch) if KeptEpochs(*place.arrow("")).has(epoch) else ""


def _read(run: StudyRun, one: Opened, name: str, checkpoint: str, folder: StudyFolder) -> None:
    known = folder.result.arm(name)
    if not (known.encoder and known.checkpoint == checkpoint):
        record = replace(one.record, checkpoint=checkpoint)
        with launch.open_checkpoint(run.runs, record).as_directory() as files:
            encoder, steps = folder.add_encoder(Path(files), one.training.recipe)
        known = replace(known, checkpoint=checkpoint, encoder=encoder, steps=steps)
    signs = [sign for row in one.rows if row["step"] == known.steps for sign in signs_in(row)]
    state: State = "ill" if signs else "finished"
    folder.change([name], lambda _: replace(known, state=state, problem=", ".join(signs)))
    if signs:
        print(f"{name}: is ill at its end: {', '.join(signs)}", flush=True)


def _fail(folder: StudyFolder, name: str, error: UserError) -> None:
    print(f"{name}: no encoder: {error.problem}", flush=True)
    folder.change(
        [name], lambda arm: replace(arm, state="failed", problem=f"{error.problem} ({error.remedy})")
    )


def _judge(
    run: StudyRun, opened: Sequence[Opened], folder: StudyFolder
) -> tuple[list[Measurement], Failures]:
    """Rows of all arms on the labelled tasks, told by question; scores go to the runs in MLflow."""
    if not any(arm.encoder for arm in folder.result.arms):
        print("no arm has an encoder: nothing is judged")
        return [], []
    rows, failure = judge_arms(folder, run.judging, run.tasks, run.dataset.uri)
    if rows:
        print(answers_text(answers(folder.result, rows)), flush=True)
    scores = scores_of(rows, folder.result)
    for one in opened:
        for name in one.arms:
            if scores.get(name):
                log_scores(one.tracked, scores[name], folder.result.arm(name).steps or 0)
    if failure is None:
        return rows, []
    return rows, [("judging", isinstance(failure, SystemExit))]


def _judge_by_neighbours(run: StudyRun, opened: Sequence[Opened], folder: StudyFolder) -> None:
    """k-NN on slices of the curated dataset, where there is no labelled task."""
    for one in opened:
        for name in one.arms:
            arm = folder.result.arm(name)
            if arm.encoder:
                record = replace(one.record, checkpoint=arm.checkpoint)
                with launch.open_checkpoint(run.runs, record).as_directory() as files:
                    judged = judge_run(Path(files), one.training.recipe, run.dataset, run.manifest)
                print("\n".join([f"{name}:", *(f"  {score}" for score in judged.scores)]), flush=True)
