"""What a study comes to at a glance: each question's arms against its reference, a column per judgement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mricore.report.study_numbers import Answer, best_of, judge_title, main_answers
from mricore.report.study_tables import TaskGroup, after, measure_title, on_curve, task_groups
from mricore.study_records import Asked, StudyResult


@dataclass(frozen=True)
class MatrixColumn:
    """A way of judging, and its main metric, as they are written."""

    judged: str
    measure: str


@dataclass(frozen=True)
class MatrixCell:
    """A verdict over all tasks, with the difference that it rests on; empty if it was not judged so."""

    verdict: str = ""
    difference: str = ""


@dataclass(frozen=True)
class MatrixGroup:
    """The lines of a question: an arm and a cell for each column.

    ``highest`` tells of a curve, for each column, when its score is highest; it is empty for bars.
    """

    question: Asked
    lines: list[tuple[str, list[MatrixCell]]]
    highest: list[str]


@dataclass(frozen=True)
class Matrix:
    """``columns`` are the ways in which the arms were judged, in the order of the study.

    ``without`` are the tasks that take no part in verdicts over all tasks, as one patient judges them.
    """

    columns: list[MatrixColumn]
    groups: list[MatrixGroup]
    without: tuple[str, ...]


def matrix(answers: Mapping[Asked, Sequence[Answer]], result: StudyResult) -> Matrix:
    """All questions that compare anything, in the main metrics; verdicts are of all tasks together."""
    main = {question: main_answers(found) for question, found in answers.items()}
    titles = {
        answer.how.folder: MatrixColumn(judge_title(answer.how), measure_title(answer))
        for found in main.values()
        for answer in found
    }
    columns = [how.folder for how in result.evaluations if how.folder in titles]
    groups = [_group(question, found, columns, result) for question, found in main.items() if question.arms]
    without = dict.fromkeys(task for found in main.values() for answer in found for task in answer.without)
    return Matrix(
        [titles[folder] for folder in columns], [one for one in groups if one.lines], tuple(without)
    )


def _group(
    question: Asked, found: Iterable[Answer], columns: Sequence[str], result: StudyResult
) -> MatrixGroup:
    by_folder = {answer.how.folder: answer for answer in found if answer.groups}
    tables = {folder: task_groups(answer, result)[0] for folder, answer in by_folder.items()}
    lines = [(arm, [_cell(tables.get(folder), arm) for folder in columns]) for arm in question.arms]
    curve = question.kind == "curve"
    highest = [_highest(by_folder.get(folder), result) for folder in columns] if curve else []
    return MatrixGroup(question, lines if by_folder else [], highest)


def _cell(table: TaskGroup | None, arm: str) -> MatrixCell:
    line = next((line for line in table.lines if line.arm == arm), None) if table else None
    return MatrixCell(line.verdict, line.difference) if line else MatrixCell()


def _highest(answer: Answer | None, result: StudyResult) -> str:
    best = best_of(answer, answer.groups[-1], on_curve(answer, result)) if answer else None
    return after(result.arm(best.arm).epoch) if best else ""
