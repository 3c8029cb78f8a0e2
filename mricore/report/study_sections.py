"""Questions of a study as its page shows them: figures and tables for each way in which arms were judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mricore.report.drawing import Drawing
from mricore.report.evaluation_charts import Difference as Drawn
from mricore.report.evaluation_charts import forest
from mricore.report.looks import looks
from mricore.report.study_charts import Point, arm_bars, epoch_curves
from mricore.report.study_numbers import Answer, best_of, beyond_noise, main_answers
from mricore.report.study_tables import (
    TaskGroup,
    best_sentences,
    measure_title,
    on_curve,
    score_title,
    task_groups,
)
from mricore.study_records import Asked, StudyResult


@dataclass(frozen=True, eq=False)
class View:
    """An answer in its main metric as the page shows it.

    ``untrained``: whether an arm of it is not trained. ``others`` are tables of further metrics.
    """

    answer: Answer
    title: str
    untrained: bool
    figure: Drawing | None
    forest: Drawing | None
    best: list[str]
    groups: list[TaskGroup]
    others: list[tuple[str, list[TaskGroup]]]


@dataclass(frozen=True, eq=False)
class Section:
    """A question with its views, one for each way in which the arms were judged."""

    anchor: str
    question: Asked
    views: list[View]

    @property
    def widest(self) -> View | None:
        """The view of most arms, which stands open where there are several; of equals the first."""
        return widest(self.views)


def section(anchor: str, question: Asked, found: Sequence[Answer], result: StudyResult) -> Section:
    """A question with all its answers."""
    return Section(anchor, question, [_view(one, found, result) for one in main_answers(found)])


def overview(found: Sequence[Answer], result: StudyResult) -> list[View]:
    """The figures of a question alone, where there are any."""
    return [
        View(one, score_title(one), _has_untrained(one, result), figure, None, [], [], [])
        for one in main_answers(found)
        if (figure := figure_of(one, result))
    ]


def widest(views: Sequence[View]) -> View | None:
    """The view of most arms; of equals the first."""
    return max(views, key=lambda view: len(view.answer.judged), default=None)


def figure_of(answer: Answer, result: StudyResult) -> Drawing | None:
    """Figure 2b or 2c of the paper; None without any score."""
    panels = {task: _points(answer, task) for task in answer.block.tasks}
    panels = {task: row for task, row in panels.items() if row}
    if not panels:
        return None
    question, unit = answer.question, f"{measure_title(answer)}, %"
    name = file_name(answer)
    if question.kind == "bars":
        return arm_bars(name, question.title, unit, panels, answer.arms, question.reference)
    arms = on_curve(answer, result)
    best = {task: found.arm for task in panels if (found := best_of(answer, task, arms))}
    epochs = {arm.name: arm.epoch for arm in arms}
    return epoch_curves(name, question.title, unit, panels, epochs, best)


def file_name(answer: Answer) -> str:
    """What a figure of an answer is called, without the end: question, protocol and mode."""
    return f"{answer.question.name}-{answer.how.protocol}-{answer.how.mode}"


def _view(answer: Answer, found: Iterable[Answer], result: StudyResult) -> View:
    beside = [one for one in found if one is not answer and one.how == answer.how]
    return View(
        answer=answer,
        title=score_title(answer),
        untrained=_has_untrained(answer, result),
        figure=figure_of(answer, result),
        forest=_forest(answer),
        best=best_sentences(answer, result) if answer.question.kind == "curve" else [],
        groups=task_groups(answer, result),
        others=[(score_title(one), task_groups(one, result)) for one in beside],
    )


def _has_untrained(answer: Answer, result: StudyResult) -> bool:
    return any(not result.arm(arm).is_trained for arm in answer.judged)


def _points(answer: Answer, task: str) -> dict[str, Point]:
    return {
        arm: Point(number.interval, answer.draws(task, arm))
        for arm in answer.arms
        if (number := answer.number(task, arm))
    }


def _forest(answer: Answer) -> Drawing | None:
    """Differences to the reference; None where the table has two lines at most for each task."""
    reference = answer.question.reference
    if len(answer.arms) <= 2:
        return None
    groups = {task: _drawn(answer, task) for task in answer.groups}
    groups = {task: drawn for task, drawn in groups.items() if drawn}
    if not groups:
        return None
    unit = f"{measure_title(answer)}, percentage points more than {reference}"
    title = f"{answer.question.title}: differences to {reference}"
    name = f"{file_name(answer)}-differences"
    return forest(name, title, unit, groups, looks(answer.arms, reference))


def _drawn(answer: Answer, task: str) -> list[Drawn]:
    return [
        Drawn(arm, found.interval, bool(beyond_noise(found)))
        for arm in answer.question.arms
        if not answer.same(arm) and (found := answer.difference(task, arm)) and found.interval
    ]
