"""The numbers of the page of an evaluation as CSV files, as shares and not as percent."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from mricore.evaluation.comparison import Difference
from mricore.evaluation.statistics import Interval
from mricore.report.evaluation_numbers import Block, Key, Number, clusters_of

SUMMARY_COLUMNS = (
    *("protocol", "mode", "task", "encoder", "metric", "label", "clusters"),
    *("mean", "low", "high", "deviation_over_draws", "draws", "patients", "left_out"),
)
DIFFERENCE_COLUMNS = (
    *("protocol", "mode", "task", "encoder", "against", "metric", "clusters"),
    *("difference", "low", "high", "better_share", "better_low", "better_high", "p", "p_corrected"),
)


def summary_csv(blocks: Sequence[Block]) -> bytes:
    """Every number with its interval: a line each."""
    lines = [
        _number(block, key, one)
        for block in blocks
        for key, one in sorted(block.numbers.items(), key=lambda item: (*item[0][:4], item[0][4] or 0))
    ]
    return _csv(SUMMARY_COLUMNS, lines)


def differences_csv(blocks: Sequence[Block]) -> bytes:
    """Every paired difference with its interval and p: a line each."""
    return _csv(
        DIFFERENCE_COLUMNS, [_difference(block, one) for block in blocks for one in block.differences]
    )


def _number(block: Block, key: Key, one: Number) -> tuple[object, ...]:
    named = block.protocol, block.mode, *key[:4], _told(key[4])
    return *named, *_ends(one.interval), _told(one.deviation), one.draws, one.patients, one.left_out


def _difference(block: Block, one: Difference) -> tuple[object, ...]:
    asked = one.question
    named = block.protocol, block.mode, asked.task, one.encoder, one.against, asked.metric
    found = _told(clusters_of(asked.mode)), *_ends(one.interval), *_ends(one.better)
    return *named, *found, _told(one.p), _told(one.corrected)


def _ends(interval: Interval | None) -> tuple[object, ...]:
    return ("", "", "") if interval is None else (interval.value, interval.low, interval.high)


def _told(value: float | None) -> object:
    return "" if value is None else value


def _csv(columns: Sequence[str], lines: Sequence[Sequence[object]]) -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return sink.getvalue().encode()
