"""The numbers of a study as CSV: a line per question, metric, task and arm, as shares and not as percent."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from mricore.evaluation.statistics import Interval
from mricore.report.study_numbers import Answer
from mricore.report.study_tables import verdict

COLUMNS = (
    *("question", "protocol", "mode", "metric", "task", "arm"),
    *("score", "low", "high", "deviation_over_draws", "patients", "draws", "left_out"),
    *("reference", "difference", "difference_low", "difference_high", "p", "p_holm", "verdict"),
)


def results_csv(answers: Iterable[Answer]) -> bytes:
    """Lines in the order of the page; what is not known is empty."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        writer.writerows(_line(answer, task, arm) for task in answer.groups for arm in answer.arms)
    return sink.getvalue().encode()


def _line(answer: Answer, task: str, arm: str) -> tuple[object, ...]:
    block, number, difference = answer.block, answer.number(task, arm), answer.difference(task, arm)
    named = answer.question.name, block.protocol, block.mode, answer.metric, task, arm
    score: tuple[object, ...] = ("",) * 7
    tested: tuple[object, ...] = ("",) * 7
    if number:
        known = _known(number.deviation), number.patients, number.draws, number.left_out
        score = (*_ends(number.interval), *known)
    if difference:
        found = _known(difference.p), _known(difference.corrected), verdict(difference)
        tested = (difference.against, *_ends(difference.interval), *found)
    return *named, *score, *tested


def _ends(interval: Interval | None) -> tuple[object, ...]:
    return ("", "", "") if interval is None else (interval.value, interval.low, interval.high)


def _known(value: float | None) -> object:
    return "" if value is None else value
