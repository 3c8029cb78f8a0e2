"""The numbers of a study's page: for each question and metric what ``compare`` says of its arms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mricore.evaluation.comparison import ALL_TASKS, Difference
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import MEAN
from mricore.evaluation.paired import tables
from mricore.report.evaluation_numbers import Block, Number, clusters_of
from mricore.report.evaluation_results import Document
from mricore.study_records import ArmResult, Asked, Evaluated, StudyResult

SIGNIFICANT = 0.05
TITLES = {"knn": "k-NN", "linear_probe": "linear probe", "patch_probe": "patch probe"}
"""Protocols that are not written as their name with a hyphen."""
EVERYTHING = "all"
"""The question of a study that asks none."""


def judge_title(how: Evaluated) -> str:
    """A protocol and its mode as they are written."""
    return f"{TITLES.get(how.protocol, how.protocol.replace('_', '-'))}, {how.mode}"


@dataclass(frozen=True)
class Judgement:
    """One way in which arms were judged: its rows, where encoders are named by arm, and its summary.

    ``summary`` is as ``evaluation.json`` of the evaluation has it.
    """

    how: Evaluated
    rows: Sequence[Measurement] = ()
    summary: Document = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answer:
    """One metric of one question: the reference first, then the arms in the order of the question.

    ``question`` has those arms alone that were to be judged in this way. ``judged`` maps each arm that was
    judged to the name that its rows have in ``block``: arms that are the same encoder share rows, so that a
    comparison of an encoder with itself is no test. ``block`` has the rows of this metric alone, so its
    differences are corrected within question and judgement. ``clusters`` are the numbers of clusters that a
    score is the mean over; empty where nothing is clustered.
    """

    question: Asked
    metric: str
    block: Block
    judged: dict[str, str]
    how: Evaluated
    clusters: tuple[int, ...] = ()

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms, judged or not."""
        return members(self.question)

    @cached_property
    def groups(self) -> list[str]:
        """Tasks, and all of them together last if there are several."""
        tasks = self.block.tasks
        return [*tasks, ALL_TASKS] if len(tasks) > 1 else tasks

    @cached_property
    def without(self) -> tuple[str, ...]:
        """The tasks that take no part in what is said of all tasks, as one patient judges them."""
        scores = () if self.empty else self.block.comparison.scores
        return next((one.amount.without for one in scores if one.question.task == ALL_TASKS), ())

    @cached_property
    def empty(self) -> bool:
        """Whether its arms have no draw in common, so that there is nothing to compare."""
        return not self.block.means

    def number(self, task: str, arm: str) -> Number | None:
        """The score of an arm; None without rows or interval."""
        if self.empty or arm not in self.judged:
            return None
        return self.block.number(task, self.judged[arm], self.metric)

    def difference(self, task: str, arm: str) -> Difference | None:
        """An arm minus the reference; None for the same encoder, without rows or without interval."""
        return self._differences.get((task, self.judged.get(arm, "")))

    def same(self, arm: str) -> bool:
        """Whether an arm is the very encoder of the reference."""
        reference = self.judged.get(self.question.reference)
        return arm != self.question.reference and reference is not None and self.judged.get(arm) == reference

    def draws(self, task: str, arm: str) -> list[float]:
        """The mean over patients of each draw; empty where there are none."""
        return self._draws.get((task, self.judged.get(arm, "")), [])

    @cached_property
    def _differences(self) -> dict[tuple[str, str], Difference]:
        if self.empty:
            return {}
        chosen = [one for one in self.block.differences if one.against == self.question.reference]
        return {(one.question.task, one.encoder): one for one in chosen}

    @cached_property
    def _draws(self) -> dict[tuple[str, str], list[float]]:
        found = {} if self.empty else tables(self.block.means, [self.metric], [MEAN])
        return {
            (question.task, encoder): [float(one) for one in np.nanmean(values, axis=0)]
            for question, table in found.items()
            for encoder, values in table.values.items()
        }


@dataclass(frozen=True)
class Best:
    """The arm with the highest score along a curve, and how its neighbours differ from it.

    ``neighbours`` are (arm, that arm minus the best); p is corrected for these alone.
    """

    arm: str
    number: Number
    neighbours: tuple[tuple[str, Difference], ...]


def beyond_noise(difference: Difference | None) -> int:
    """1 or -1 for a difference above or below 0, 0 for one that may be noise, and for none.

    Test and interval are made in different ways, so that with few draws one may see what the other does not;
    what is called a difference is what both see.
    """
    if difference is None or difference.interval is None or difference.corrected is None:
        return 0
    interval = difference.interval
    if difference.corrected >= SIGNIFICANT or interval.low <= 0 <= interval.high:
        return 0
    return 1 if interval.value > 0 else -1


def questions_of(result: StudyResult) -> tuple[Asked, ...]:
    """What a study asks; one that asks nothing compares all arms with its baseline."""
    others = tuple(arm.name for arm in result.arms if arm.name != result.baseline)
    return result.questions or (Asked(EVERYTHING, "All arms", result.baseline, others, "bars"),)


def members(question: Asked) -> tuple[str, ...]:
    """The arms of a question, the reference first."""
    return tuple(dict.fromkeys((question.reference, *question.arms)))


def answers(result: StudyResult, question: Asked, judgements: Iterable[Judgement]) -> list[Answer]:
    """An answer for each judgement and metric, the main metric of each judgement first."""
    return [answer for judgement in judgements for answer in _answers(result, question, judgement)]


def main_answers(found: Sequence[Answer]) -> list[Answer]:
    """The answers in the main metric of their judgement."""
    first: dict[str, Answer] = {}
    for answer in found:
        first.setdefault(answer.how.folder, answer)
    return list(first.values())


def judged_in(result: StudyResult, judgement: Judgement) -> set[str]:
    """The arms that a judgement has rows of, under their own name or that of the same encoder."""
    there = {row.encoder for row in judgement.rows}
    return {arm.name for arm in result.arms if _source(result, arm.name, there)}


def best_of(answer: Answer, task: str, arms: Sequence[ArmResult]) -> Best | None:
    """The best arm of a curve and its neighbours; ``arms`` in the order of the curve."""
    scored = [(arm.name, one) for arm in arms if (one := answer.number(task, arm.name))]
    if not scored:
        return None
    place = max(range(len(scored)), key=lambda at: scored[at][1].interval.value)
    near = [scored[at][0] for at in (place - 1, place + 1) if 0 <= at < len(scored)]
    arm, number = scored[place]
    return Best(arm, number, tuple(against(answer, task, arm, near)))


def against(answer: Answer, task: str, arm: str, others: Sequence[str]) -> list[tuple[str, Difference]]:
    """Others minus an arm, for a claim about these alone: p is corrected for them and not for the question.

    Over ``ALL_TASKS`` it is corrected for the tasks too, as the question is.
    """
    names = {answer.judged[one]: one for one in others if answer.judged[one] != answer.judged[arm]}
    base = answer.judged[arm]
    chosen = [row for row in answer.block.rows if row.encoder in (*names, base)]
    if not names:
        return []
    if task != ALL_TASKS:
        chosen = [row for row in chosen if row.task == task]
    small = replace(answer.block, rows=tuple(chosen), order=(base, *names), baseline=base)
    return [(names[one.encoder], one) for one in small.differences if one.question.task == task]


def _answers(result: StudyResult, question: Asked, judgement: Judgement) -> list[Answer]:
    how, asked = judgement.how, _asked_of(question, judgement.how)
    if question.arms and not asked.arms:
        return []
    judged = _judged(result, asked, {row.encoder for row in judgement.rows})
    order = tuple(dict.fromkeys(judged.values()))
    rows, clusters = _over_clusters(_rows_of(result, order, judgement.rows), how.mode)
    if not rows:
        return []
    whole = Block(how.protocol, how.mode, tuple(rows), order, question.reference)
    return [
        Answer(asked, metric, replace(whole, rows=_of_metric(rows, metric)), judged, how, clusters)
        for metric in sorted(whole.metrics, key=lambda one: one != whole.main)
    ]


def _asked_of(question: Asked, how: Evaluated) -> Asked:
    """The question without arms that were not to be judged in this way."""
    if not how.arms:
        return question
    return replace(question, arms=tuple(arm for arm in question.arms if arm in how.arms))


def _of_metric(rows: Iterable[Measurement], metric: str) -> tuple[Measurement, ...]:
    return tuple(row for row in rows if row.metric == metric)


def _over_clusters(rows: Sequence[Measurement], mode: str) -> tuple[list[Measurement], tuple[int, ...]]:
    """Rows in which numbers of clusters count as cases, so that scores are means over them; and the numbers.

    A study has one number for an arm and a task: to take the best number of clusters would be a choice. Those
    that some encoder of a task lacks, as its patches are too few, are left out for all. ``mode`` is the
    judgement's, which rows of clusters get.
    """
    counts: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        if k := clusters_of(row.mode):
            counts[row.task][row.encoder].add(k)
    shared = {task: set.intersection(*found.values()) for task, found in counts.items()}
    merged = [
        replace(row, mode=mode, case=f"{row.case} k={k}") if k else row
        for row in rows
        if not (k := clusters_of(row.mode)) or k in shared[row.task]
    ]
    return merged, tuple(sorted(set().union(*shared.values())))


def _judged(result: StudyResult, question: Asked, there: set[str]) -> dict[str, str]:
    """The arm whose name stands for each judged arm: the first of the question that is the same encoder."""
    first: dict[str, str] = {}
    return {
        arm: first.setdefault(result.arm(arm).encoder or arm, arm)
        for arm in members(question)
        if _source(result, arm, there)
    }


def _source(result: StudyResult, arm: str, there: set[str]) -> str | None:
    """Under which name an arm was judged: its own, or that of an arm with the same encoder."""
    folder = result.arm(arm).encoder
    twins = [one.name for one in result.arms if folder and one.encoder == folder]
    return next((name for name in (arm, *twins) if name in there), None)


def _rows_of(result: StudyResult, arms: Sequence[str], rows: Sequence[Measurement]) -> list[Measurement]:
    """The rows of these arms, by their names."""
    there = {row.encoder for row in rows}
    named: dict[str | None, str] = {_source(result, arm, there): arm for arm in arms}
    return [replace(row, encoder=named[row.encoder]) for row in rows if row.encoder in named]
