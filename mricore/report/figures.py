"""Figures as SVG text, and arrays as PNG, for embedding in a page. No global state of matplotlib is used."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

BLUE, ORANGE, GREEN, GREY = "#2f6f9f", "#c8691c", "#3c8d5a", "#6b7280"
LINES = (BLUE, ORANGE, GREEN, "#8e5ea2", GREY)
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa3ad",
    "axes.labelcolor": "#374151",
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "svg.fonttype": "none",
    "svg.hashsalt": "mricore",
}
Row = Mapping[str, float]


def curves(
    rows: Sequence[Row], panels: Sequence[tuple[str, Sequence[tuple[str, str]]]], columns: int = 3
) -> str:
    """Small multiples over steps; a panel is (title, [(key, label)]); rows without a key are skipped."""
    height = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.3 * height), layout="constrained")
        grid = figure.subplots(height, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (title, series) in zip(grid.flat, panels, strict=False):
            _curve_panel(axes, rows, title, series)
        return _svg(figure)


def bars(tables: Mapping[str, Mapping[str, int]]) -> str:
    """Horizontal bars, one panel per table, with the counts written at their ends."""
    with mpl.rc_context(STYLE):
        most = max((len(table) for table in tables.values()), default=1)
        figure = Figure(figsize=(9.6, 2 * (0.55 + 0.24 * most)), layout="constrained")
        grid = figure.subplots(2, -(-len(tables) // 2), squeeze=False)
        for axes in grid.flat[len(tables) :]:
            axes.set_visible(False)
        for axes, (name, table) in zip(grid.flat, tables.items(), strict=False):
            _bar_panel(axes, name.replace("_", " "), table)
        return _svg(figure)


def stacked_bar(parts: Mapping[str, float]) -> str:
    """One bar of seconds, split into named parts."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.1), layout="constrained")
        axes = figure.subplots()
        start = 0.0
        for index, (name, seconds) in enumerate(parts.items()):
            label = f"{name} {seconds:,.0f} s"
            axes.barh(0, seconds, left=start, color=LINES[index % len(LINES)], height=0.5, label=label)
            start += seconds
        axes.set(yticks=[], xlabel="seconds")
        axes.spines["left"].set_visible(False)
        axes.legend(ncols=len(parts), loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8)
        return _svg(figure)


def picture(array: NDArray[np.floating], side: int) -> str:
    """A slice (h, w) or a colour picture (h, w, 3) in [0, 1] as a data URI, about ``side`` pixels high.

    Small grids are enlarged in whole steps without smoothing, so that patches stay patches.
    """
    bytes_ = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    factor = max(1, round(side / bytes_.shape[0]))
    image = Image.fromarray(bytes_)
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    if image.height > 2 * side:
        image.thumbnail((2 * side, 2 * side))
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()


def with_mask(crop: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A crop (S, S) as colours (S, S, 3) with its masked patches (g, g) tinted."""
    patch = crop.shape[0] // mask.shape[0]
    hidden = np.kron(mask, np.ones((patch, patch)))[..., None]
    tint = np.array([0.78, 0.41, 0.11])
    return crop[..., None] * (1 - 0.75 * hidden) + tint * 0.75 * hidden


def _curve_panel(axes: Axes, rows: Sequence[Row], title: str, series: Sequence[tuple[str, str]]) -> None:
    for index, (key, label) in enumerate(series):
        points = [(row["step"], row[key]) for row in rows if key in row]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        marker = "o" if len(points) == 1 else None
        axes.plot(steps, values, color=LINES[index], linewidth=1.4, marker=marker, label=label)
    axes.set_title(title)
    axes.set_xlabel("step")
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)


def _bar_panel(axes: Axes, title: str, table: Mapping[str, int]) -> None:
    names, counts = list(table), list(table.values())
    places = np.arange(len(names))
    axes.barh(places, counts, color=BLUE, height=0.7)
    for place, count in zip(places, counts, strict=True):
        axes.annotate(
            f"{count:,}", (count, place), (3, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, max(counts, default=1) * 1.25)
    axes.set_ylim(max(len(names), 4) - 0.4, -0.6)
    axes.set_title(f"slices by {title}")


def _svg(figure: Figure) -> str:
    FigureCanvasSVG(figure)
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    return text[text.index("<svg") :]
