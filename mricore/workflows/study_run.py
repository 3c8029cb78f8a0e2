"""A study from its trainings to its page; each step is skipped if it is done already."""

from __future__ import annotations

from collections.abc import Sequence

from mricore.registry.studied import adopt, open_parent
from mricore.report.study_numbers import Judgement
from mricore.revision import code_revision
from mricore.study_records import ArmResult, StudyResult
from mricore.training.telemetry import Tracked, end_run
from mricore.tuning.study import Trial, check_room
from mricore.workflows.study_encoders import make_untrained, read_encoders
from mricore.workflows.study_evaluation import judge_all, judge_by_neighbours
from mricore.workflows.study_folder import (
    FORECAST,
    StudyFolder,
    carried,
    declared,
    earlier,
    study_place,
    waiting,
)
from mricore.workflows.study_launch import (
    Failures,
    Opened,
    StudyRun,
    as_runs_allow,
    held,
    opened,
    train,
    untrained_yet,
)
from mricore.workflows.study_page import write_page
from mricore.workflows.study_trainings import Training


def run_all(run: StudyRun, trainings: Sequence[Training]) -> tuple[StudyResult, Failures]:
    """Train, judge, compare, log and report; what is known in the end, and what failed.

    Raises:
        UserError: a place, the tracking server or the cluster cannot be used.
    """
    trainings = as_runs_allow(run, trainings)
    to_train = untrained_yet(run, trainings)
    check_room([Trial(one.recipe, "", Tracked("", "", "")) for one in to_train], run.max_concurrent)
    with held(run, to_train):
        found = [opened(run, one) for one in trainings]
        folder, parent = _begun(run, found)
        failures = make_untrained(run, folder)
        failures += train(run, found, folder)
    failures += read_encoders(run, found, folder)
    judgements: list[Judgement] = []
    if run.tasks:
        judgements, unjudged = judge_all(run, found, folder)
        failures += unjudged
    else:
        judge_by_neighbours(run, found, folder)
    recipes = {arm: one.training.recipe for one in found for arm in one.arms} | dict(run.untrained)
    histories = {one.record.name: one.rows for one in found}
    write_page(folder, parent, recipes, histories, judgements, run.manifest)
    for one in found:
        end_run(one.tracked, "FINISHED" if one.record.checkpoint else "FAILED")
    end_run(parent, "FAILED" if failures else "FINISHED")
    return folder.result, failures


def _begun(run: StudyRun, found: Sequence[Opened]) -> tuple[StudyFolder, Tracked]:
    """The study's folder and its run in MLflow, with the trainings' runs as its children."""
    place = study_place(run.home.outputs, run.study.name)
    before = earlier(place)
    arms = _arms(run, found)
    result = declared(run.study, run.recipe, run.assignments, run.told, arms)
    result = carried(carried(result, before), earlier(place, FORECAST))
    tags = {
        "mricore.study": run.study.name,
        "manifest_digest": run.manifest.digest,
        "code_revision": code_revision(),
    }
    experiment = found[0].training.recipe.tracking.experiment
    known = before.mlflow_run_id if before else ""
    parent = open_parent(run.home, experiment, run.study.name, tags, known)
    for one in found:
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


def _arms(run: StudyRun, found: Sequence[Opened]) -> list[ArmResult]:
    """In the order of the study."""
    known = {
        reading.arm: {
            "run": one.record.name,
            "mlflow_run_id": one.record.mlflow_run_id,
            "epoch": reading.epoch,
            "epochs": one.training.epochs,
        }
        for one in found
        for reading in one.training.readings
    }
    return [waiting(spec, run.recipe, **known.get(spec.name, {})) for spec in run.study.arms]
