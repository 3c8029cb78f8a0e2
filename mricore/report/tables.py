"""Rows of the report's tables, from counts, seconds and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mricore.data.progress import duration
from mricore.evaluation.protocol import Score
from mricore.imaging.anatomy import UNKNOWN
from mricore.imaging.sequences import VENDORS
from mricore.report.charts import MINUS
from mricore.report.panels import Row

MOST_BARS = 12
HEADINGS = {
    "location": "Body location",
    "sequence": "Sequence",
    "vendor": "Vendor",
    "plane": "Plane",
    "field_strength": "Field strength",
}
PROPER_NAMES = {
    **{name: name.replace("_", " ").title() for name in VENDORS if name != UNKNOWN},
    "ge": "GE",
    "T2star": "T2*",
}
"""Categories that are not written as they are spoken."""
WORK = {
    "data_wait": "waiting for data",
    "views": "crops and masks",
    "step": "forward, backward, update",
    "report": "waiting for the device, sums over workers",
    "validation": "judging the encoder",
    "checkpoint": "report and checkpoint",
}
PART = "communication"
"""A kind of work that is part of others."""


@dataclass(frozen=True)
class Bar:
    """A row with a bar: ``length`` is in percent of the longest, ``share`` of the sum."""

    name: str
    value: str
    length: float
    share: str


@dataclass(frozen=True)
class Distribution:
    """Bars of one attribute, and a sentence about the slices of which nothing tells it."""

    heading: str
    bars: list[Bar]
    unknown: str


def distribution_bars(
    distributions: Mapping[str, Mapping[str, int]], most: int = MOST_BARS
) -> list[Distribution]:
    """The attributes that have counts, in the order of the paper's Fig. 1b; ``most`` bars of each."""
    ranks = {name: rank for rank, name in enumerate(HEADINGS)}
    ordered = sorted(distributions, key=lambda name: (ranks.get(name, len(ranks)), name))
    return [
        Distribution(
            HEADINGS.get(name, name.replace("_", " ").capitalize()),
            count_bars(distributions[name], most),
            _told_unknown(distributions[name]),
        )
        for name in ordered
        if distributions[name]
    ]


def count_bars(counts: Mapping[str, int], most: int = MOST_BARS) -> list[Bar]:
    """Bars of slices by category: largest first, "unknown" last, rare ones together."""
    ranked = sorted(counts.items(), key=lambda item: (item[0] == UNKNOWN, -item[1], item[0]))
    shown, rest = ranked, ranked[most:]
    if len(rest) > 1:
        shown = [*ranked[:most], (f"{len(rest)} others", sum(count for _, count in rest))]
    return ordered_bars({in_words(name): count for name, count in shown})


def ordered_bars(counts: Mapping[str, int]) -> list[Bar]:
    """Bars of counts in the order given."""
    return _bars([(name, count, f"{count:,}") for name, count in counts.items()])


def in_words(category: str) -> str:
    """A category as people write it."""
    return PROPER_NAMES.get(category, category.replace("_", " "))


def duration_bars(seconds: Mapping[str, float]) -> list[Bar]:
    """Bars of the wall time of each stage."""
    return _bars([(name, spent, duration(spent)) for name, spent in seconds.items()])


def step_bars(history: Sequence[Row]) -> list[Bar]:
    """Bars of the mean time of each kind of work in a step (metrics "time/KIND_s"), in the order of work.

    What is part of others has its share of the sum, but no part in it.
    """
    timed = [row for row in history if any(name.startswith("time/") for name in row)]
    kinds = {
        name.removeprefix("time/").removesuffix("_s") for row in timed for name in row if "time/" in name
    }
    order = [kind for kind in WORK if kind in kinds] + sorted(kinds - set(WORK))
    means = {kind: float(np.mean([row.get(f"time/{kind}_s", 0.0) for row in timed])) for kind in order}
    part = means.pop(PART, 0.0)
    bars = _bars([(_work(kind), mean, f"{mean:.3f} s") for kind, mean in means.items()])
    if part:
        total, longest = sum(means.values()), max(means.values())
        length = round(min(100.0, 100 * part / longest), 1)
        bars.append(Bar("of all this, between workers", f"{part:.3f} s", length, _percent(part / total)))
    return bars


def _work(kind: str) -> str:
    return WORK.get(kind, kind.replace("_", " "))


def score_row(score: Score) -> dict[str, str]:
    """A score as cells of text; a task that was not judged has its reason under "note"."""
    row = {
        "task": score.task,
        "classes": f"{score.classes:,}",
        "slices": f"{score.slices:,}",
        "patients": f"{score.patients:,}",
        "chance": "" if score.chance is None else f"{score.chance:.3f}",
        "before": str(score.before or ""),
        "after": str(score.after or "not judged"),
        "difference": "",
        "p": "",
        "note": score.note,
    }
    if score.difference:
        difference = score.difference.interval
        row["difference"] = (
            f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]".replace("-", MINUS)
        )
        row["p"] = "< 0.001" if score.difference.p < 0.001 else f"{score.difference.p:.3f}"
    return row


def _told_unknown(counts: Mapping[str, int]) -> str:
    unknown, total = counts.get(UNKNOWN, 0), sum(counts.values())
    if not unknown:
        return "known of all slices"
    return f"unknown of {unknown:,} of {total:,} slices ({_percent(unknown / total)})"


def _bars(rows: Sequence[tuple[str, float, str]]) -> list[Bar]:
    total = sum(value for _, value, _ in rows)
    longest = max((value for _, value, _ in rows), default=0)
    if not total:
        return [Bar(name, text, 0.0, "") for name, _, text in rows]
    return [
        Bar(name, text, round(100 * value / longest, 1), _percent(value / total))
        for name, value, text in rows
    ]


def _percent(share: float) -> str:
    return "< 1%" if 0 < share < 0.005 else f"{share:.0%}"
