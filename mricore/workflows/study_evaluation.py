"""The arms of a study judged, one protocol after the other, and their scores in MLflow."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.evaluation.measurements import Measurement, from_csv
from mricore.evaluation.statistics import Interval
from mricore.evaluation.units import MEASUREMENTS, SUMMARY
from mricore.registry.judged import Score
from mricore.registry.studied import log_scores
from mricore.report.study_numbers import Judgement
from mricore.study_records import EVALUATIONS, StudyResult
from mricore.training import launch
from mricore.workflows.evaluate import Protocol, UnitsFailedError, evaluate
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.evaluation_scores import compared
from mricore.workflows.frozen import FOLDER as FEATURES
from mricore.workflows.judgement import judge_run
from mricore.workflows.study_folder import StudyFolder
from mricore.workflows.study_judging import Judge, Judging
from mricore.workflows.study_launch import Failures, Opened, StudyRun


def judge_all(
    run: StudyRun, opened: Sequence[Opened], folder: StudyFolder
) -> tuple[list[Judgement], Failures]:
    """What all judges say of the arms; scores go to the runs in MLflow."""
    if not any(arm.encoder for arm in folder.result.arms):
        print("no arm has an encoder: nothing is judged")
        return [], []
    judgements, failures = judge_arms(folder, run.judging, run.tasks, run.dataset.uri)
    scores = scores_of(judgements, folder.result)
    for one in opened:
        for name in one.arms:
            if scores.get(name):
                log_scores(one.tracked, scores[name], folder.result.arm(name).steps or 0)
    return judgements, failures


def judge_by_neighbours(run: StudyRun, opened: Sequence[Opened], folder: StudyFolder) -> None:
    """k-NN on slices of the curated dataset, where there is no labelled task; of trained arms alone.

    What is told of each has the encoder before the first step beside it.
    """
    for one in opened:
        for name in one.arms:
            arm = folder.result.arm(name)
            if arm.encoder:
                with launch.open_checkpoint(run.runs, one.at(arm.checkpoint)).as_directory() as files:
                    judged = judge_run(Path(files), one.training.recipe, run.dataset, run.manifest)
                print("\n".join([f"{name}:", *(f"  {score}" for score in judged.scores)]), flush=True)


def judge_arms(
    folder: StudyFolder, judging: Judging, tasks: tuple[str, ...], pretraining: str
) -> tuple[list[Judgement], Failures]:
    """Judge the arms that have an encoder; what each judge found, and which of them failed.

    Arms that are the same encoder are judged once, under the name of the first. A judge that fails does not
    keep the next from judging.
    """
    judgements: list[Judgement] = []
    failures: Failures = []
    for number, judge in enumerate(judging.judges, 1):
        print(f"judging {number} of {len(judging.judges)}: {judge}", flush=True)
        found, failure = _judged(folder, judging, judge, tasks, pretraining)
        judgements += found
        if failure is not None:
            failures.append((f"judging by {judge}", isinstance(failure, SystemExit)))
    return judgements, failures


def judged_arms(result: StudyResult, only: Sequence[str] = ()) -> dict[str, str]:
    """Encoder folders, each with the first arm that it is of; of ``only`` some arms if there are any."""
    first: dict[str, str] = {}
    for arm in result.arms:
        if arm.encoder:
            first.setdefault(arm.encoder, arm.name)
    wanted = {arm.encoder for arm in result.arms if not only or arm.name in only}
    return {encoder: arm for encoder, arm in first.items() if encoder in wanted}


def scores_of(judgements: Sequence[Judgement], result: StudyResult) -> dict[str, dict[str, Interval]]:
    """Scores with their intervals by arm, under names for MLflow; arms that are one encoder have the same."""
    arms = {
        first: [arm.name for arm in result.arms if arm.encoder == encoder]
        for encoder, first in judged_arms(result).items()
    }
    found: dict[str, dict[str, Interval]] = {name: {} for some in arms.values() for name in some}
    for one in judgements:
        rows = [row for row in one.rows if row.encoder in arms]
        for encoder, scores in _scores(rows, one.how.protocol).items():
            for name in arms[encoder]:
                found[name] |= scores
    return found


def _scores(rows: Sequence[Measurement], protocol: str) -> dict[str, dict[str, Interval]]:
    """By encoder, of one judge; none where encoders cannot be compared."""
    encoders = list(dict.fromkeys(row.encoder for row in rows))
    comparison = compared(rows, next(iter(encoders), None))
    found: dict[str, dict[str, Interval]] = {encoder: {} for encoder in encoders}
    if isinstance(comparison, str):
        return found
    for one in comparison.scores:
        if one.interval is not None:
            task = re.sub(r"[^\w.-]+", "_", one.question.task)
            score = Score(one.question.mode, one.question.metric, one.interval)
            found[one.encoder][f"study/{protocol}/{task}/{score.name}"] = one.interval
    return found


def _judged(
    folder: StudyFolder, judging: Judging, judge: Judge, tasks: tuple[str, ...], pretraining: str
) -> tuple[list[Judgement], UserError | SystemExit | None]:
    """What a judge found, if anything, and how it failed; ``study.json`` keeps that it judged."""
    chosen = judged_arms(folder.result, judge.arms)
    if not chosen:
        print("none of its arms has an encoder")
        return [], None
    told = judge.evaluated(tasks)
    baseline = chosen.get(folder.result.arm(folder.result.baseline).encoder)
    with folder.encoders(list(chosen)) as places:
        encoders = tuple(f"{arm}=mricore:{places[encoder]}" for encoder, arm in chosen.items())
        out = Place(folder.place.joined(told.folder))
        shared = folder.place.joined(f"{EVALUATIONS}/{FEATURES}")
        request = judging.request(judge, encoders, out.uri, pretraining, baseline, shared)
        measured, failure = _evaluated(request, judge.protocol)
    if not measured:
        return [], failure
    folder.write(evaluations=(*folder.result.evaluations, told))
    rows, summary = from_csv(out.read_bytes(MEASUREMENTS)), json.loads(out.read_bytes(SUMMARY))
    return [Judgement(told, rows, summary)], failure


def _evaluated(request: EvaluationRequest, protocol: Protocol) -> tuple[bool, UserError | SystemExit | None]:
    """Whether this was measured and written, and what was raised, e.g. because units failed."""
    try:
        evaluate(request, protocol, tells=False)  # the study tells its questions
    except SystemExit as end:
        return True, end
    except UserError as error:
        print(f"{error.problem}: {error.remedy}", flush=True)
        return isinstance(error, UnitsFailedError), error
    return True, None
