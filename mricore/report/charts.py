"""Charts of a run as SVG pictures in data URIs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from mricore.evaluation.protocol import Score
from mricore.evaluation.statistics import Interval
from mricore.report.drawing import BLUE, GREEN, GREY, INK, ORANGE, PINK, STYLE, Chart, svg_uri
from mricore.report.panels import Panel, Row

LINES = (BLUE, ORANGE, GREEN, PINK)
PANEL_INCHES = (2.8, 1.8)
ROW_INCHES = 0.52
BINS = 240
"""A longer history is drawn as means of this many bins with the range in each, so a page stays small."""
MINUS = "\N{MINUS SIGN}"
LABEL_GAP = 0.12
"""Least distance between labels at the ends of lines, as a fraction of the axis."""


@dataclass(frozen=True)
class Line:
    """Points of a line, (n,) each: at most ``BINS`` means with the lowest and highest value they cover.

    ``ends`` are the first and the last value; both are NaN for a line without points.
    """

    steps: NDArray[np.float64]
    means: NDArray[np.float64]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    ends: tuple[float, float]


def curve_chart(history: Sequence[Row], panel: Panel) -> Chart:
    """The lines of a panel over steps, each with its last value at the end."""
    lines = [(line_of(history, key), label) for key, label in panel.lines]
    drawn = [(line, label) for line, label in lines if len(line.steps)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL_INCHES, layout="constrained")
        axes = figure.subplots()
        for colour, (line, _) in zip(LINES, drawn, strict=False):
            _draw(axes, line, colour)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.set_xlabel("step")
        _label_ends(axes, drawn)
        source = svg_uri(figure)
    told = [f"{label} {_told(line)}".strip() for line, label in drawn]
    return Chart(source, f"{panel.title} over steps: {'; '.join(told) or 'no finite value'}")


def interval_chart(scores: Sequence[Score]) -> Chart:
    """Scores before and after training with intervals and chance, one row per judged task."""
    judged = [score for score in scores if score.after is not None]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.55 + ROW_INCHES * max(len(judged), 1)), layout="constrained")
        axes = figure.subplots()
        for place, score in enumerate(judged):
            _draw_interval(axes, place - 0.17, score.before, GREY)
            _draw_interval(axes, place + 0.17, score.after, BLUE)
            values = [f"{one.value:.2f}" for one in (score.before, score.after) if one is not None]
            axes.annotate(
                " → ".join(values), (1, place), (8, 0), textcoords="offset points", va="center", color=INK
            )
            if score.chance is not None:
                axes.vlines(score.chance, place - 0.38, place + 0.38, color=ORANGE, linewidth=1.6)
        axes.set_yticks(range(len(judged)), [score.task for score in judged])
        axes.tick_params(axis="y", labelsize=10)
        axes.set(xlim=(0, 1), ylim=(len(judged) - 0.5, -0.5), xlabel="k-NN accuracy (share of slices)")
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        source = svg_uri(figure)
    told = [f"{score.task} {score.before or 'not measured'} before, {score.after} after" for score in judged]
    return Chart(source, f"k-NN accuracy with 95% intervals: {'; '.join(told)}")


def line_of(history: Sequence[Row], key: str) -> Line:
    """The finite values of a metric, in bins if there are many."""
    points = [(row["step"], row[key]) for row in history if key in row and np.isfinite(row[key])]
    table = np.array(points, np.float64).reshape(-1, 2)
    parts = np.array_split(table, min(BINS, len(table))) if len(table) else []
    columns = [(part[:, 0].mean(), part[:, 1].mean(), part[:, 1].min(), part[:, 1].max()) for part in parts]
    ends = (points[0][1], points[-1][1]) if points else (float("nan"), float("nan"))
    steps, means, lows, highs = np.array(columns, np.float64).reshape(-1, 4).T
    return Line(steps, means, lows, highs, ends)


def number(value: float) -> str:
    """A number for people: thousands separators, four significant digits below that, a true minus."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("e-0", "e-").replace("-", MINUS)


def _draw(axes: Axes, line: Line, colour: str) -> None:
    if (line.highs > line.lows).any():
        axes.fill_between(line.steps, line.lows, line.highs, color=colour, alpha=0.18, linewidth=0)
    marker = "o" if len(line.steps) == 1 else None
    axes.plot(line.steps, line.means, color=colour, linewidth=1.5, marker=marker, markersize=4)


def _label_ends(axes: Axes, drawn: Sequence[tuple[Line, str]]) -> None:
    """Name and last value at the end of each line; labels that would overlap are moved apart."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ends = [(line.means[-1] - low) / (high - low) for line, _ in drawn]
    below = -np.inf
    for index in np.argsort(ends):
        line, label = drawn[index]
        place = max(ends[index], below + LABEL_GAP)
        below = place
        axes.annotate(
            f"{label} {number(float(f'{line.ends[1]:.3g}'))}".strip(),
            (1, place),
            (4, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=LINES[index % len(LINES)],
        )


def _draw_interval(axes: Axes, place: float, interval: Interval | None, colour: str) -> None:
    if interval is not None:
        axes.hlines(place, interval.low, interval.high, color=colour, linewidth=2.2)
        axes.plot(interval.value, place, "o", color=colour, markersize=6)


def _told(line: Line) -> str:
    first, last = (number(value) for value in line.ends)
    return f"from {first} to {last}" if len(line.steps) > 1 else first
