"""Figures of a study (paper Figs. 2b, 2c) and of its trainings; scores are shares, drawn as percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mricore.evaluation.statistics import Interval
from mricore.report.charts import line_of, number
from mricore.report.drawing import BLUE, GREY, INK, ORANGE, Drawing, styled
from mricore.report.looks import COLOURS, shortened
from mricore.report.panels import Row

WIDE = 7.6
"""Inches: the width of a page."""
COLUMNS = 2
"""Panels side by side, where there are several."""
LABEL = 30
"""Characters of an arm's name beside its bar."""
DASHES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
"""Colours of lines repeat from the seventh on; the dashes then differ."""
ROW_INCHES, CURVE_INCHES, LOSS_INCHES, LEGEND_INCHES = 0.27, 2.5, 2.5, 0.17


@dataclass(frozen=True)
class Point:
    """A score with its interval, and the means of single draws."""

    interval: Interval
    draws: Sequence[float] = field(default=())


Panels = Mapping[str, Mapping[str, Point]]
"""Task -> arm -> score."""


@styled
def arm_bars(
    name: str, title: str, unit: str, panels: Panels, arms: Sequence[str], reference: str
) -> Drawing:
    """A bar per arm, a panel per task (paper Fig. 2b): whiskers are intervals, dots are draws.

    The reference is grey. An arm without a score keeps its place and has no bar.
    """
    figure, grid = _panels(len(panels), 0.55 + ROW_INCHES * len(arms))
    ends = [(row.interval.high, *row.draws) for panel in panels.values() for row in panel.values()]
    highest = max(100 * end for some in ends for end in some)
    for place, (axes, (task, panel)) in enumerate(zip(grid, panels.items(), strict=True)):
        for at, arm in enumerate(arms):
            if arm in panel:
                _bar(axes, at, panel[arm], GREY if arm == reference else BLUE)
            else:
                _no_bar(axes, at)
        _arm_axis(axes, arms if place % COLUMNS == 0 else [""] * len(arms))
        axes.set(xlim=(0, max(highest * 1.02, 1.0)))
        _name_panel(axes, task)
        if place >= len(panels) - COLUMNS:
            axes.set_xlabel(unit)
    return Drawing(name, figure, f"{title}: {_told(panels, arms)}")


@styled
def epoch_curves(
    name: str, title: str, unit: str, panels: Panels, epochs: Mapping[str, int], best: Mapping[str, str]
) -> Drawing:
    """Score over epochs, a panel per task (paper Fig. 2c): the band is the interval, dots are draws.

    The axis doubles from tick to tick. Epoch 0, which such an axis does not have, stands a doubling before
    the first one, and the line to it is dotted. ``best`` has the arm of each task that is marked.
    """
    figure, grid = _panels(len(panels), CURVE_INCHES)
    places = _places(epochs)
    for place, (axes, (task, row)) in enumerate(zip(grid, panels.items(), strict=False)):
        arms = sorted(row, key=lambda arm: epochs[arm])
        at = [places[arm] for arm in arms]
        start = sum(epochs[arm] == 0 for arm in arms)
        lows, values, highs = (
            [100 * getattr(row[arm].interval, end) for arm in arms] for end in ("low", "value", "high")
        )
        axes.fill_between(at, lows, highs, color=BLUE, alpha=0.16, linewidth=0)
        axes.plot(at[start:], values[start:], color=BLUE, linewidth=1.6, marker="o", markersize=4.5)
        axes.plot(at[: start + 1], values[: start + 1], color=BLUE, linewidth=1.6, linestyle=":")
        axes.plot(at[:start], values[:start], "o", color=BLUE, markersize=4.5)
        for arm in arms:
            _dots(axes, [places[arm]] * len(row[arm].draws), [100 * one for one in row[arm].draws])
        if task in best:
            _mark(axes, places[best[task]], epochs[best[task]], row[best[task]].interval)
        _epoch_axis(axes, {places[arm]: epochs[arm] for arm in arms})
        _name_panel(axes, task)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("epochs")
        if place % COLUMNS == 0:
            axes.set_ylabel(unit)
    ordered = sorted(epochs, key=lambda arm: epochs[arm])
    return Drawing(name, figure, f"{title}: {_told(panels, ordered)}")


@styled
def loss_curves(name: str, title: str, lines: Mapping[str, Sequence[Row]], key: str) -> Drawing:
    """A metric over the slices seen, a line per training; rows have "slices" beside their metrics."""
    short = [shortened(label, LABEL) for label in lines]
    columns = max(1, min(len(short), 100 // (max(map(len, short), default=1) + 6)))
    height = LOSS_INCHES + LEGEND_INCHES * -(-len(short) // columns)
    figure = Figure(figsize=(WIDE, height), layout="constrained")
    axes = figure.subplots()
    handles, told = [], []
    for place, (label, rows) in enumerate(lines.items()):
        line = line_of(rows, key)
        colour, dashes = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
        marker = "o" if len(line.steps) == 1 else None
        axes.plot(line.steps, line.means, color=colour, linestyle=dashes, linewidth=1.3, marker=marker)
        handles.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.6))
        told.append(f"{label} from {number(line.ends[0])} to {number(line.ends[1])}")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel="slices seen", ylabel="total loss")
    figure.legend(handles, short, loc="outside upper left", ncols=columns, frameon=False, fontsize=8.5)
    return Drawing(name, figure, f"{title}: {'; '.join(told)}")


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most ``COLUMNS`` beside each other."""
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDE, rows * height + 0.1), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]


def _bar(axes: Axes, at: int, point: Point, colour: str) -> None:
    low, value, high = (100 * getattr(point.interval, end) for end in ("low", "value", "high"))
    axes.barh(at, value, 0.66, color=colour, alpha=0.55, linewidth=0)
    axes.hlines(at, low, high, color=INK, linewidth=1.3)
    _dots(axes, [100 * one for one in point.draws], list(np.linspace(at - 0.2, at + 0.2, len(point.draws))))
    axes.annotate(
        f"{value:.1f}",
        (1, at),
        (5, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        color=INK,
        fontsize=8.5,
    )


def _no_bar(axes: Axes, at: int) -> None:
    axes.annotate(
        "no score", (0, at), (4, 0), textcoords="offset points", va="center", color=GREY, fontsize=8
    )


def _arm_axis(axes: Axes, names: Sequence[str]) -> None:
    """A row per arm, the first on top."""
    axes.set_yticks(range(len(names)), [shortened(name, LABEL) for name in names])
    for label in axes.get_yticklabels():
        label.set_color(INK)
    axes.set(ylim=(len(names) - 0.45, -0.55))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)


def _dots(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Single draws; one draw alone is the score itself."""
    if len(x) > 1:
        axes.plot(x, y, "o", color=INK, markersize=2.2, alpha=0.55, markeredgewidth=0, linestyle="none")


def _places(epochs: Mapping[str, int]) -> dict[str, float]:
    """Where each arm stands on a doubling axis; epoch 0 half as far as the first other one."""
    first = min((epoch for epoch in epochs.values() if epoch), default=2)
    return {arm: epoch or first / 2 for arm, epoch in epochs.items()}


def _mark(axes: Axes, place: float, epoch: int, interval: Interval) -> None:
    value = 100 * interval.value
    axes.plot([place], [value], "o", markersize=10, markerfacecolor="none", markeredgecolor=ORANGE)
    axes.annotate(
        f"{value:.1f} {f'after {epoch}' if epoch else 'untrained'}",
        (place, 100 * interval.high),
        (0, 5),
        textcoords="offset points",
        ha="center",
        color=ORANGE,
        fontsize=8.5,
    )


def _epoch_axis(axes: Axes, ticks: Mapping[float, int]) -> None:
    """``ticks``: place -> epoch."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(ticks) / 1.35, max(ticks) * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(ticks.get(value, value))))
    axes.margins(y=0.14)


def _name_panel(axes: Axes, task: str) -> None:
    axes.set_title(shortened(task, 36), loc="left", fontsize=9.5, color=INK, fontweight="bold")


def _told(panels: Panels, arms: Sequence[str]) -> str:
    parts = [
        f"{task}: " + ", ".join(f"{arm} {_percent(row[arm].interval)}" for arm in arms if arm in row)
        for task, row in panels.items()
    ]
    return "; ".join(parts)


def _percent(one: Interval) -> str:
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"
