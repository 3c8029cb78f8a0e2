"""The arms of a study judged by few-shot segmentation, on patients of the development part and no others.

Paper section 4.2.2: what is chosen by an ablation must not be judged on the patients of published scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mricore.config.overrides import overridden
from mricore.config.running import Running
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.comparison import Comparison
from mricore.evaluation.comparison_text import as_text
from mricore.evaluation.measurements import Measurement, from_csv
from mricore.evaluation.statistics import Interval
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.splits import Part
from mricore.evaluation.units import MEASUREMENTS, SUMMARY
from mricore.registry.judged import Score
from mricore.report.study_numbers import questions_of
from mricore.study_records import EVALUATION, Asked, Evaluated, StudyResult
from mricore.workflows.evaluate import RUN, evaluate, read_tasks
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.evaluation_scores import compared
from mricore.workflows.few_shot import FEW_SHOT
from mricore.workflows.study_folder import StudyFolder

PART: Part = "development"
"""Fixed: no setting leads to the test patients."""
MAIN = "dice_3d"


@dataclass(frozen=True)
class Judging:
    """How arms are judged: labelled tasks as ``NAME=ROOT``, and what ``eval/few_shot.py`` takes besides."""

    tasks: tuple[str, ...]
    mode: str = "cpu"
    draws: int = 5
    decoder: str | None = None
    assignments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A question, and what its arms' rows of a metric say; a sentence where they cannot be compared."""

    asked: Asked
    metric: str
    comparison: Comparison | str


def task_names_of(judging: Judging) -> tuple[str, ...]:
    """Look at all that arms will be judged by, before any training; the names of the tasks.

    Raises:
        UserError: a task cannot be read or drawn from, there is no decoder, or a setting is refused.
    """
    request = _request(judging, (), None, None, None)
    overridden({**FEW_SHOT.settings(request), RUN: Running()}, request.assignments)
    if judging.decoder is not None:
        place(judging.decoder).require()
    tasks = read_tasks(request)
    for labelled in tasks:
        for number in range(judging.draws):
            draw(labelled, number, request.seed)
    return tuple(one.task.name for one in tasks)


def judge_arms(
    folder: StudyFolder, judging: Judging, tasks: tuple[str, ...], pretraining: str
) -> tuple[list[Measurement], UserError | SystemExit | None]:
    """Judge every arm that has an encoder; the rows, and what ``evaluate`` ended with if units failed.

    Arms that are the same encoder are judged once, under the name of the first.

    Raises:
        UserError: the tasks, settings or places cannot be used.
    """
    chosen = judged_arms(folder.result)
    out = folder.place.joined(EVALUATION)
    baseline = chosen.get(folder.result.arm(folder.result.baseline).encoder)
    with folder.encoders(list(chosen)) as places:
        encoders = tuple(f"{arm}=mricore:{places[encoder]}" for encoder, arm in chosen.items())
        request = _request(judging, encoders, out, pretraining, baseline)
        failure = _evaluated(request)
    folder.write(evaluation=Evaluated(judging.mode, judging.draws, tasks, PART, judging.assignments))
    return from_csv(folder.place.read_bytes(f"{EVALUATION}/{MEASUREMENTS}")), failure


def judged_arms(result: StudyResult) -> dict[str, str]:
    """Encoder folders, each with the first arm that it is of."""
    chosen: dict[str, str] = {}
    for arm in result.arms:
        if arm.encoder:
            chosen.setdefault(arm.encoder, arm.name)
    return chosen


def answers(result: StudyResult, rows: Sequence[Measurement]) -> list[Answer]:
    """Each question's arms against its reference, metric by metric: p is corrected within the two."""
    names = judged_arms(result)
    return [
        Answer(asked, metric, _answered(result, asked, names, [row for row in rows if row.metric == metric]))
        for asked in questions_of(result)
        for metric in sorted({row.metric for row in rows})
    ]


def answers_text(found: Sequence[Answer]) -> str:
    """A block of lines for each question, by 3D Dice where it was measured, as the paper has it."""
    metrics = {one.metric for one in found}
    shown = [one for one in found if MAIN not in metrics or one.metric == MAIN]
    blocks = []
    for one in shown:
        told = one.comparison
        blocks.append(f"{one.asked.title}\n{told if isinstance(told, str) else as_text(told)}")
    return "\n\n".join(blocks)


def scores_of(rows: Sequence[Measurement], result: StudyResult) -> dict[str, dict[str, Interval]]:
    """Scores with their intervals by arm, under names for MLflow; arms that are one encoder have the same."""
    names = judged_arms(result)
    comparison = compared(rows, next(iter(names.values()), None))
    found: dict[str, dict[str, Interval]] = {arm.name: {} for arm in result.arms if arm.encoder}
    if isinstance(comparison, str):
        return found
    for one in comparison.scores:
        if one.interval is not None:
            task = re.sub(r"[^\w.-]+", "_", one.question.task)
            name = f"study/{task}/{Score(one.question.mode, one.question.metric, one.interval).name}"
            for arm in result.arms:
                if arm.encoder and names[arm.encoder] == one.encoder:
                    found[arm.name][name] = one.interval
    return found


def _answered(
    result: StudyResult, asked: Asked, names: Mapping[str, str], rows: Sequence[Measurement]
) -> Comparison | str:
    """Rows of arms that share an encoder with another arm of the question count once, under its first."""
    reference = result.arm(asked.reference)
    if not reference.encoder:
        return f"{reference.name} has no encoder to compare with ({reference.problem or reference.state})"
    here: dict[str, str] = {}
    for name in (asked.reference, *asked.arms):
        if encoder := result.arm(name).encoder:
            here.setdefault(names[encoder], name)
    if len(here) < 2:
        return f"no other encoder than that of {reference.name}"
    chosen = [replace(row, encoder=here[row.encoder]) for row in rows if row.encoder in here]
    return compared(chosen, reference.name)


def _request(
    judging: Judging,
    encoders: tuple[str, ...],
    out: str | None,
    pretraining: str | None,
    baseline: str | None,
) -> EvaluationRequest:
    return EvaluationRequest(
        tasks=judging.tasks,
        data=None,
        encoders=encoders,
        mode=judging.mode,
        draws=judging.draws,
        part=PART,
        assignments=judging.assignments,
        out=out,
        pretraining=pretraining,
        baseline=baseline,
        decoder=judging.decoder,
    )


def _evaluated(request: EvaluationRequest) -> UserError | SystemExit | None:
    """What was raised because units failed, when all others were measured and written."""
    summary = place(str(request.out))
    before = summary.read_bytes(SUMMARY) if summary.exists(SUMMARY) else b""
    try:
        evaluate(request, FEW_SHOT, tells=False)  # the study tells its questions
    except SystemExit as end:
        return end
    except UserError as error:
        if not summary.exists(SUMMARY) or summary.read_bytes(SUMMARY) == before:
            raise  # nothing was measured
        return error
    return None
