"""Drawn figures: one style, colours that colour-blind readers can tell apart, and how they leave matplotlib.

Nothing here has global state, and text is never parsed as TeX.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#6b7280"
AMBER, SKY = "#e69f00", "#56b4e9"
"""Okabe and Ito's colours."""
INK = "#1f2933"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa3ad",
    "axes.labelcolor": "#4b5563",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e8ecf0",
    "grid.linewidth": 0.8,
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "mricore",
    "pdf.fonttype": 42,
}
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Chart:
    """A picture for an ``img`` element: its data URI, and words for those who do not see it."""

    source: str
    alt: str


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with the name of its file and words for those who do not see it."""

    name: str
    figure: Figure
    alt: str

    def chart(self) -> Chart:
        """The figure for a page."""
        return Chart(svg_uri(self.figure), self.alt)

    def files(self) -> dict[str, bytes]:
        """The figure for a publication, by file name: SVG with its text as text, and PDF."""
        return {f"{self.name}.svg": svg(self.figure).encode(), f"{self.name}.pdf": _pdf(self.figure)}


def styled(draw: Callable[Arguments, Drawing]) -> Callable[Arguments, Drawing]:
    """A function that draws in the style of this package."""

    def drawn(*arguments: Arguments.args, **named: Arguments.kwargs) -> Drawing:
        with mpl.rc_context(STYLE):
            return draw(*arguments, **named)

    drawn.__doc__ = draw.__doc__
    return drawn


def svg(figure: Figure, background: str | None = None) -> str:
    """The figure as an SVG element, transparent without a background; the same figure gives the same text."""
    FigureCanvasSVG(figure)
    sink = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # the reader's fonts draw the letters that ours lack
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(
            sink,
            format="svg",
            transparent=background is None,
            facecolor=background or "none",
            metadata={"Date": None, "Creator": None},
        )
    text = sink.getvalue()
    return text[text.index("<svg") :]


def svg_uri(figure: Figure) -> str:
    """The figure as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg(figure).encode()).decode()


def _pdf(figure: Figure) -> bytes:
    FigureCanvasPdf(figure)
    sink = io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(sink, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return sink.getvalue()
