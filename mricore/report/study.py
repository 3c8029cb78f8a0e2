"""One self-contained HTML page about an ablation study, with the paper's figures 2b and 2c."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mricore.config.schema import Recipe
from mricore.evaluation.measurements import Measurement
from mricore.report.drawing import Drawing
from mricore.report.evaluation_charts import Difference as Drawn
from mricore.report.evaluation_charts import forest
from mricore.report.evaluation_facts import asked, leaks
from mricore.report.evaluation_numbers import metric_title
from mricore.report.evaluation_results import Document, Results
from mricore.report.looks import looks
from mricore.report.panels import Row
from mricore.report.study_charts import Point, arm_bars, epoch_curves
from mricore.report.study_claims import Finding, findings
from mricore.report.study_csv import results_csv
from mricore.report.study_numbers import Answer, answers, best_of, beyond_noise, questions_of
from mricore.report.study_tables import (
    TaskGroup,
    best_sentences,
    failed_arms,
    in_short,
    lineages,
    on_curve,
    score_title,
    task_groups,
)
from mricore.report.study_texts import allowed, commands, facts, limits
from mricore.report.study_trainings import cost_lines, gauges_of, loss_figures, training_lines
from mricore.report.templates import render_template
from mricore.study_records import Asked, StudyResult

OVERVIEW = "overview"
"""The question that shows the arms of all questions with bars side by side."""


@dataclass(frozen=True)
class StudyInputs:
    """What the page is made of; whatever is empty is left out of it.

    ``rows`` are those of the study's evaluation, where encoders are named by arm. ``recipes`` are by arm,
    with the digest of their initial weights; ``histories`` by name of the run, a row per step. ``counts`` are
    the manifest's, ``summary`` is the evaluation's, as its ``evaluation.json`` has it.
    """

    result: StudyResult
    rows: Sequence[Measurement] = ()
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    histories: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    summary: Document = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class View:
    """An answer in its main metric as the page shows it; ``others`` are tables of further metrics."""

    title: str
    short: str
    figure: Drawing | None
    forest: Drawing | None
    best: list[str]
    groups: list[TaskGroup]
    others: list[tuple[str, list[TaskGroup]]]


@dataclass(frozen=True, eq=False)
class Section:
    """A question with its views, one per protocol that judged the arms."""

    anchor: str
    question: Asked
    views: list[View]


class StudyPage:
    """A study as a page and as CSV; the numbers are made once."""

    def __init__(self, inputs: StudyInputs) -> None:
        self.inputs = inputs
        self.answers = {
            question: answers(inputs.result, question, inputs.rows)
            for question in questions_of(inputs.result)
        }

    def html(self) -> str:
        """The page as HTML text; all given text is escaped."""
        given, result = self.inputs, self.inputs.result
        sections = [_section(place, *one, result) for place, one in enumerate(self.answers.items(), 1)]
        evaluation = Results([], [given.summary] if given.summary else [], [], [])
        judged = {arm for found in self.answers.values() for answer in found for arm in answer.judged}
        return render_template(
            "study.html",
            title=result.title,
            given=given,
            result=result,
            facts=facts(result, given.counts, given.rows),
            overview=self._overview(),
            sections=sections,
            briefs=[(one.question, view) for one in sections for view in one.views if view.short],
            several=any(len(one.views) > 1 for one in sections),
            findings=self._findings(),
            failed=failed_arms(result, judged),
            failed_units=given.summary.get("failed", ()),
            leaks=leaks(evaluation),
            asked=asked(evaluation),
            losses=loss_figures(result, given.histories, given.recipes),
            gauges=list(gauges_of(given.histories).values()),
            trainings=training_lines(result, given.histories, given.recipes),
            costs=cost_lines(result),
            allowed=allowed(),
            limits=limits(result, given.rows),
            commands=commands(result),
            lineages=lineages(result, given.recipes),
        )

    def csv(self) -> bytes:
        """Every score and paired test of every question and metric."""
        return results_csv(answer for found in self.answers.values() for answer in found)

    def _findings(self) -> list[Finding]:
        main = [answer for found in self.answers.values() for answer in _main(found)]
        return findings(self.inputs.result, self.inputs.recipes, main)

    def _overview(self) -> list[tuple[str, Drawing]]:
        """All arms of the questions with bars in one figure, where there are several such questions."""
        result = self.inputs.result
        bars = [question for question in questions_of(result) if question.kind == "bars"]
        if len(bars) < 2:
            return []
        arms = dict.fromkeys(arm for one in bars for arm in (one.reference, *one.arms))
        others = tuple(arm for arm in arms if arm != result.baseline)
        whole = Asked(OVERVIEW, "All arms", result.baseline, others, "bars")
        found = _main(answers(result, whole, self.inputs.rows))
        return [(score_title(one), drawing) for one in found if (drawing := _figure(one, result))]


def _main(found: Sequence[Answer]) -> list[Answer]:
    """The answers in the main metric of their protocol and mode."""
    first: dict[tuple[str, str], Answer] = {}
    for answer in found:
        first.setdefault((answer.block.protocol, answer.block.mode), answer)
    return list(first.values())


def _section(place: int, question: Asked, found: Sequence[Answer], result: StudyResult) -> Section:
    return Section(f"question-{place}", question, [_view(one, found, result) for one in _main(found)])


def _view(answer: Answer, found: Sequence[Answer], result: StudyResult) -> View:
    beside = [
        one
        for one in found
        if one is not answer
        and (one.block.protocol, one.block.mode) == (answer.block.protocol, answer.block.mode)
    ]
    return View(
        title=score_title(answer),
        short=in_short(answer, result),
        figure=_figure(answer, result),
        forest=_forest(answer),
        best=best_sentences(answer, result) if answer.question.kind == "curve" else [],
        groups=task_groups(answer, result),
        others=[(score_title(one), task_groups(one, result)) for one in beside],
    )


def _figure(answer: Answer, result: StudyResult) -> Drawing | None:
    """Figure 2b or 2c; None without any score."""
    panels = {task: _points(answer, task) for task in answer.block.tasks}
    panels = {task: row for task, row in panels.items() if row}
    if not panels:
        return None
    question, unit = answer.question, f"{metric_title(answer.metric)}, %"
    if question.kind == "bars":
        return arm_bars(question.name, question.title, unit, panels, answer.arms, question.reference)
    arms = on_curve(answer, result)
    best = {task: found.arm for task in panels if (found := best_of(answer, task, arms))}
    epochs = {arm.name: arm.epoch for arm in arms}
    return epoch_curves(question.name, question.title, unit, panels, epochs, best)


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
    unit = f"{metric_title(answer.metric)}, percentage points more than {reference}"
    title = f"{answer.question.title}: differences to {reference}"
    return forest("differences", title, unit, groups, looks(answer.arms, reference))


def _drawn(answer: Answer, task: str) -> list[Drawn]:
    return [
        Drawn(arm, found.interval, bool(beyond_noise(found)))
        for arm in answer.question.arms
        if not answer.same(arm) and (found := answer.difference(task, arm)) and found.interval
    ]
