"""A comparison as text for people, and as CSV for everything else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from mricore.evaluation.comparison import Amount, Comparison, Difference, Score
from mricore.evaluation.crossed import Components
from mricore.evaluation.power import ALPHA, WANTED, smallest_design
from mricore.evaluation.statistics import Interval

COLUMNS = (
    *("kind", "protocol", "mode", "metric", "label", "task", "encoder", "against"),
    *("value", "low", "high", "p", "p_corrected", "better", "better_low", "better_high"),
    *("patients", "draws", "left_out", "note"),
)
DRAWS = (3, 5, 10, 15, 20, 30, 50, 100)
PATIENTS = (5, 10, 15, 20, 30, 50, 100, 200)


def as_text(comparison: Comparison) -> str:
    """A block of lines for each question, scores before differences; every number with its interval."""
    width = max(map(len, map(_name, _all(comparison))))
    lines: list[str] = []
    for question in dict.fromkeys(one.question for one in comparison.scores):
        scores = [one for one in comparison.scores if one.question == question]
        lines.append(f"{question}: {_amount(scores[0].amount)}{_noted(scores[0].note)}")
        lines += [f"  {_name(one):{width}}  {_shown(one.interval)}" for one in scores]
        lines += [
            f"  {_name(one):{width}} {_difference(one)}"
            for one in comparison.differences
            if one.question == question
        ]
        lines.append("")
    tests = sum(one.p is not None for one in comparison.differences)
    lines.append(
        "Means over patients and draws with 95% intervals over both; p two-sided, in brackets after Holm's "
        f"correction for {tests} {'difference' if tests == 1 else 'differences'}."
    )
    return "\n".join(lines)


def as_csv(comparison: Comparison) -> bytes:
    """One row for each score and difference, with a header; empty where there is no number."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for one in _all(comparison):
        row: dict[str, object] = {
            name: getattr(one.question, name) for name in ("protocol", "mode", "metric", "label", "task")
        }
        row |= {"kind": "score", "encoder": one.encoder, "note": one.note}
        row |= _bounds(one.interval, ("value", "low", "high"))
        row |= {name: getattr(one.amount, name) for name in ("patients", "draws", "left_out")}
        if isinstance(one, Difference):
            row |= {"kind": "difference", "against": one.against}
            row |= {"p": _number(one.p), "p_corrected": _number(one.corrected)}
            row |= _bounds(one.better, ("better", "better_low", "better_high"))
        writer.writerow(row)
    return sink.getvalue().encode()


def designs(comparison: Comparison, difference: float, seed: int) -> Iterator[str]:
    """Lines that tell how many draws, or how many patients, show a difference of that size."""
    yield (
        f"To see a difference of {difference:g} in {WANTED:.0%} of studies (p < {ALPHA}, uncorrected), "
        "by simulation from the variances seen above:"
    )
    for one in comparison.differences:
        if one.components is not None:
            patients, draws = one.amount.patients, one.amount.draws
            yield f"  {one.question}, {_name(one)}"
            yield f"    by draws:    {_design(one.components, difference, [patients], DRAWS, seed)}"
            yield f"    by patients: {_design(one.components, difference, PATIENTS, [draws], seed)}"
        elif one.amount.draws == 1:
            yield f"  {one.question}, {_name(one)}: one draw does not tell how much draws differ"


def _all(comparison: Comparison) -> list[Score | Difference]:
    return [*comparison.scores, *comparison.differences]


def _design(
    found: Components, difference: float, patients: Sequence[int], draws: Sequence[int], seed: int
) -> str:
    chosen = smallest_design(found, difference, patients, draws, np.random.default_rng(seed))
    return str(chosen) if chosen else f"not with {patients[-1]} patients x {draws[-1]} draws"


def _name(one: Score | Difference) -> str:
    return one.encoder if isinstance(one, Score) else f"{one.encoder} - {one.against}"


def _amount(amount: Amount) -> str:
    parts = [_counted(amount.patients, "patient"), _counted(amount.draws, "draw")]
    left = f", undefined for {amount.left_out} pairs of them" if amount.left_out else ""
    return " x ".join(parts) + left


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _noted(note: str) -> str:
    return f" ({note})" if note else ""


def _shown(interval: Interval | None) -> str:
    return "-" if interval is None else str(interval)


def _difference(one: Difference) -> str:
    if one.interval is None:
        return " -"
    low, high = one.interval.low, one.interval.high
    return (
        f"{one.interval.value:+.3f} [{low:+.3f}, {high:+.3f}]  p {_p(one.p)} ({_p(one.corrected)})"
        f"  better for {_shown(one.better)} of patients"
    )


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _bounds(interval: Interval | None, names: tuple[str, str, str]) -> dict[str, str]:
    if interval is None:
        return {}
    return dict(zip(names, map(_number, (interval.value, interval.low, interval.high)), strict=True))


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))
