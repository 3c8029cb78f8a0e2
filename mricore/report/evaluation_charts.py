"""Figures of an evaluation (paper Figs. 1d, 2a, 2c, 3b, 3c, 4b): each value stands with its 95% interval.

Values are shares from 0 to 1 and are drawn as percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from mricore.evaluation.statistics import Interval
from mricore.report.charts import number
from mricore.report.drawing import INK, Drawing, styled
from mricore.report.looks import Look, shortened

WIDE = 7.6
"""Inches of the figures that take the width of a page."""
RADAR_SPREAD, CURVE_SPREAD = 0.03, 0.008
"""How far the intervals of two encoders at one point lie apart: radians, and share of the axis."""
RADAR_AXES = 3
"""A radar of fewer tasks is no area."""
Scores = Mapping[str, Mapping[str, Interval]]
"""Encoder -> group (a task, a metric) -> value; a group that an encoder lacks stays empty."""


@dataclass(frozen=True)
class Confusion:
    """Counts (classes, classes) of slices: rows are true classes, columns are predicted ones."""

    classes: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """One paired difference for a forest plot."""

    encoder: str
    interval: Interval
    significant: bool


@styled
def radar(name: str, title: str, scores: Scores, groups: Sequence[str], seen: Mapping[str, Look]) -> Drawing:
    """One axis per task, one outline per encoder (paper Fig. 1d); short lines are intervals."""
    figure = Figure(figsize=(WIDE, 4.6), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    angles = np.linspace(0, 2 * math.pi, len(groups), endpoint=False)
    for place, (encoder, values) in enumerate(scores.items()):
        look, shift = seen[encoder], _shift(place, len(scores)) * RADAR_SPREAD
        drawn = [100 * values[group].value if group in values else math.nan for group in groups]
        axes.plot(
            [*angles, angles[0]],
            [*drawn, drawn[0]],
            color=look.colour,
            linewidth=1.6,
            marker=look.marker,
            markersize=4,
        )
        for angle, group in zip(angles, groups, strict=True):
            if group in values:
                low, high = 100 * values[group].low, 100 * values[group].high
                axes.plot([angle + shift] * 2, [low, high], color=look.colour, linewidth=1.1, alpha=0.7)
    _polar_frame(axes, angles, groups, _limits(scores))
    _legend(figure, scores, seen, lines=True)
    return Drawing(name, figure, f"{title}: {_told(scores, groups)}")


@styled
def bars(
    name: str,
    title: str,
    unit: str,
    scores: Scores,
    groups: Sequence[str],
    seen: Mapping[str, Look],
    chance: Mapping[str, float] | None = None,
) -> Drawing:
    """Groups of bars, one per encoder, with intervals (paper Figs. 2a, 3b); dashes are chance if given."""
    figure = Figure(figsize=(WIDE, 3.1), layout="constrained")
    axes = figure.subplots()
    width = 0.84 / max(len(scores), 1)
    room = WIDE * 60 * width / max(len(groups), 1)
    for place, (encoder, values) in enumerate(scores.items()):
        look = seen[encoder]
        for middle, group in enumerate(groups):
            if group in values:
                _bar(axes, middle + (place - (len(scores) - 1) / 2) * width, width, values[group], look, room)
    for middle, group in enumerate(groups):
        if chance and group in chance:
            axes.hlines(
                100 * chance[group], middle - 0.46, middle + 0.46, color=INK, linewidth=1, linestyle="--"
            )
    axes.set_xticks(range(len(groups)), [_wrapped(group) for group in groups])
    axes.tick_params(axis="x", length=0)
    axes.set(ylabel=unit, xlim=(-0.5, len(groups) - 0.5), ylim=(0, _top(scores)))
    _legend(figure, scores, seen, lines=False)
    return Drawing(name, figure, f"{title}: {_told(scores, groups)}")


@styled
def curves(
    name: str,
    title: str,
    unit: str,
    lines: Mapping[str, Mapping[int, Interval]],
    seen: Mapping[str, Look],
    along: str,
) -> Drawing:
    """Values over epochs, steps or numbers of clusters, with intervals (paper Figs. 2c, 4b).

    ``lines`` are by the name that ``seen`` knows; the axis doubles from tick to tick, as the paper's do.
    """
    figure = Figure(figsize=(WIDE, 3.1), layout="constrained")
    axes = figure.subplots()
    ticks = sorted({at for line in lines.values() for at in line})
    doubling = ticks[0] > 0
    span = math.log2(ticks[-1] / ticks[0]) if doubling else ticks[-1] - ticks[0]
    if doubling:
        axes.set_xscale("log", base=2)
    for place, (key, line) in enumerate(lines.items()):
        look, shift = seen[key], _shift(place, len(lines)) * CURVE_SPREAD * span
        at = np.array(sorted(line), np.float64)
        moved = at * 2**shift if doubling else at + shift
        values = [100 * line[int(one)].value for one in at]
        axes.plot(moved, values, color=look.colour, linewidth=1.5, marker=look.marker, markersize=4.5)
        lows, highs = ([100 * getattr(line[int(one)], end) for one in at] for end in ("low", "high"))
        axes.vlines(moved, lows, highs, color=look.colour, linewidth=1.2, alpha=0.75)
    axes.xaxis.set_major_locator(FixedLocator(_apart(ticks, doubling)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set(xlabel=along, ylabel=unit)
    _legend(figure, lines, seen, lines=True)
    return Drawing(name, figure, f"{title}: {_told_lines(lines, along)}")


@styled
def adaptation(
    name: str, title: str, lines: Mapping[str, Mapping[int, Sequence[float]]], seen: Mapping[str, Look]
) -> Drawing:
    """Scores of validation slices over epochs of adaptation: mean of the draws, and their range as a band.

    ``lines`` are encoder -> epoch -> a value for each draw that got so far.
    """
    figure = Figure(figsize=(WIDE, 2.7), layout="constrained")
    axes = figure.subplots()
    for encoder, line in lines.items():
        at = sorted(line)
        lows, means, highs = (
            [100 * float(reduce(line[epoch])) for epoch in at] for reduce in (min, np.mean, max)
        )
        axes.fill_between(at, lows, highs, color=seen[encoder].colour, alpha=0.15, linewidth=0)
        axes.plot(at, means, color=seen[encoder].colour, linewidth=1.4)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel="epoch", ylabel="validation Dice, %")
    _legend(figure, lines, seen, lines=True)
    told = [f"{encoder} ends at {100 * np.mean(line[max(line)]):.1f}" for encoder, line in lines.items()]
    return Drawing(name, figure, f"{title}: {'; '.join(told)}")


@styled
def confusions(name: str, title: str, matrices: Mapping[str, Confusion]) -> Drawing:
    """One matrix per encoder (paper Fig. 3c): percent of each true class, dark is much."""
    columns = 4 if len(matrices) in (4, 7, 8) else min(3, len(matrices))
    rows = -(-len(matrices) // columns)
    side = WIDE / max(columns, 3) + 0.1
    figure = Figure(figsize=(max(columns, 2) * side, rows * (side + 0.45)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(matrices) :]:
        axes.remove()
    for place, (axes, (encoder, one)) in enumerate(zip(grid.flat, matrices.items(), strict=False)):
        _confusion(axes, encoder, one, first=place % columns == 0)
    told = [f"{encoder} {_diagonal(one)}" for encoder, one in matrices.items()]
    return Drawing(name, figure, f"{title}, percent of each true class that is found: {'; '.join(told)}")


@styled
def forest(
    name: str, title: str, unit: str, groups: Mapping[str, Sequence[Difference]], seen: Mapping[str, Look]
) -> Drawing:
    """Paired differences with intervals, a row each below its group; filled where they are significant."""
    rows: list[tuple[str, Difference | None]] = []
    for group, differences in groups.items():
        rows += [(shortened(group, 40), None), *((seen[one.encoder].short, one) for one in differences)]
    figure = Figure(figsize=(WIDE, 0.75 + 0.21 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (_, one) in enumerate(rows):
        if one is not None:
            _difference(axes, place, one, seen[one.encoder])
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [text for text, _ in rows])
    for label, (_, one) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set(color=INK, fontweight="bold" if one is None else "normal")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: ("+" if value > 0 else "") + number(value)))
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=unit)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    told = [
        f"{group}: " + ", ".join(f"{one.encoder} {_percent(one.interval)}" for one in differences)
        for group, differences in groups.items()
    ]
    return Drawing(name, figure, f"{title}: {'; '.join(told)}")


def _difference(axes: Axes, place: int, one: Difference, look: Look) -> None:
    axes.hlines(place, 100 * one.interval.low, 100 * one.interval.high, color=look.colour, linewidth=2)
    face = look.colour if one.significant else "white"
    axes.plot(
        100 * one.interval.value, place, look.marker, color=look.colour, markerfacecolor=face, markersize=6
    )


def _bar(axes: Axes, at: float, width: float, interval: Interval, look: Look, room: float) -> None:
    value, low, high = (100 * one for one in (interval.value, interval.low, interval.high))
    axes.bar(at, value, width * 0.9, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0)
    axes.vlines(at, low, high, color=INK, linewidth=1)
    if room > 13:
        axes.annotate(
            f"{value:.1f}" if room > 19 else f"{value:.0f}",
            (at, max(high, value)),
            (0, 2),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=7,
        )


def _confusion(axes: Axes, encoder: str, one: Confusion, first: bool) -> None:
    shares = 100 * one.counts / np.maximum(one.counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="equal")
    size = 8 if len(one.classes) < 6 else 6
    for row, column in np.ndindex(shares.shape):
        colour = "white" if shares[row, column] > 55 else INK
        axes.text(
            column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=size
        )
    names = [shortened(label, 16) for label in one.classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=7.5)
    axes.set_yticks(range(len(names)), names if first else [""] * len(names), fontsize=7.5)
    axes.set_title(shortened(encoder), fontsize=9, color=INK)
    axes.set(xlabel="predicted", ylabel="true" if first else "")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _polar_frame(
    axes: Axes, angles: NDArray[np.float64], groups: Sequence[str], limits: tuple[float, float]
) -> None:
    axes.set_theta_zero_location("N")  # type: ignore[attr-defined]
    axes.set_theta_direction(-1)  # type: ignore[attr-defined]
    axes.set_ylim(*limits)
    axes.set_xticks(angles, [_wrapped(group) for group in groups], color=INK)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        side = math.sin(angle)
        label.set_horizontalalignment("center" if abs(side) < 0.1 else "left" if side > 0 else "right")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_rlabel_position(180 / len(groups))  # type: ignore[attr-defined]
    axes.tick_params(axis="y", labelsize=7.5)
    axes.tick_params(axis="x", pad=1)
    axes.grid(visible=True)
    axes.spines["polar"].set_visible(False)


def _legend(figure: Figure, names: Mapping[str, object], seen: Mapping[str, Look], lines: bool) -> None:
    handles = [
        Line2D([], [], color=seen[name].colour, marker=seen[name].marker, markersize=5, linewidth=1.5)
        if lines
        else Patch(facecolor=seen[name].colour, hatch=seen[name].hatch, edgecolor="white", linewidth=0)
        for name in names
    ]
    short = [seen[name].short for name in names]
    columns = max(1, min(len(short), 100 // (max(map(len, short), default=1) + 6)))
    figure.legend(
        handles, short, loc="outside upper left", ncols=columns, frameon=False, fontsize=8.5, handlelength=1.6
    )


def _limits(scores: Scores) -> tuple[float, float]:
    """Round bounds for all intervals; an area from 0 on would hide what differs."""
    ends = [100 * end for values in scores.values() for one in values.values() for end in (one.low, one.high)]
    return max(0.0, 10 * math.floor((min(ends) - 5) / 10)), min(100.0, 10 * math.ceil(max(ends) / 10))


def _top(scores: Scores) -> float:
    highest = max(100 * one.high for values in scores.values() for one in values.values())
    return max(1.12 * highest, 1.0)


def _apart(ticks: Sequence[int], doubling: bool) -> list[int]:
    """The ticks that have room for their numbers."""
    span = math.log2(ticks[-1] / ticks[0]) if doubling else ticks[-1] - ticks[0]
    kept = [ticks[0]]
    for tick in ticks[1:]:
        step = math.log2(tick / kept[-1]) if doubling else tick - kept[-1]
        if step >= 0.06 * span:
            kept.append(tick)
    return kept


def _shift(place: int, count: int) -> float:
    return place - (count - 1) / 2


def _wrapped(text: str) -> str:
    """A name over two lines at most."""
    text = shortened(text, 34)
    middle = len(text) // 2
    gaps = [place for place, letter in enumerate(text) if letter == " "]
    if len(text) <= 16 or not gaps:
        return text
    gap = min(gaps, key=lambda place: abs(place - middle))
    return text[:gap] + "\n" + text[gap + 1 :]


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _told(scores: Scores, groups: Sequence[str]) -> str:
    parts = [
        f"{encoder} " + ", ".join(f"{group} {_percent(values[group])}" for group in groups if group in values)
        for encoder, values in scores.items()
    ]
    return "; ".join(parts)


def _told_lines(lines: Mapping[str, Mapping[int, Interval]], along: str) -> str:
    parts = [
        f"{name} " + ", ".join(f"{_percent(line[at])} at {at}" for at in sorted(line))
        for name, line in lines.items()
    ]
    return f"over {along}; " + "; ".join(parts)


def _diagonal(one: Confusion) -> str:
    shares = 100 * np.diag(one.counts) / np.maximum(one.counts.sum(1), 1)
    return ", ".join(f"{label} {share:.0f}" for label, share in zip(one.classes, shares, strict=True))
