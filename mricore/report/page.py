"""One self-contained HTML page about a run; it opens offline and loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.evaluation.protocol import Score
from mricore.report import tables
from mricore.report.charts import curve_chart, interval_chart
from mricore.report.curation import funnel_table, reject_groups
from mricore.report.drawing import Chart
from mricore.report.panels import Panel, Row, panels_of
from mricore.report.templates import render_template

Picture = NDArray[np.floating]
View = tuple[str, Picture]
CURVES = {
    "losses": "loss/",
    "validation": "validation/",
    "gauges": "gauge/",
    "schedules": "schedule/",
    "speed": "progress/slices_per_s",
}


@dataclass(frozen=True)
class ReportInputs:
    """Plain data for a page; whatever is empty is left out of it.

    ``history`` has one row per step with keys ``step``, ``loss/...``, ``gauge/...``, ``schedule/...``,
    ``time/...`` (seconds). Slices are (h, w), pictures (h, w) or (h, w, 3), in [0, 1]: ``examples`` are
    (slice, caption); ``crops`` per slice (caption, labelled pictures), small if the label begins with
    "local"; ``features`` (slice, picture before, picture after). ``timings`` are seconds per stage.
    """

    title: str
    generated_phantoms: bool
    facts: Sequence[tuple[str, str]]
    history: Sequence[Row] = ()
    examples: Sequence[tuple[Picture, str]] = ()
    crops: Sequence[tuple[str, Sequence[View]]] = ()
    features: Sequence[tuple[Picture, Picture, Picture]] = ()
    scores: Sequence[Score] = ()
    distributions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    funnel: Sequence[Mapping[str, Any]] = ()
    rejected: Sequence[Mapping[str, Any]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


def render(inputs: ReportInputs) -> str:
    """The page as HTML text; all given text is escaped."""
    return render_template(
        "page.html",
        given=inputs,
        crops=[(caption, *_large_and_small(views)) for caption, views in inputs.crops],
        curves={name: _curves(inputs.history, prefix) for name, prefix in CURVES.items()},
        score_rows=[tables.score_row(one) for one in inputs.scores],
        score_chart=interval_chart(inputs.scores) if any(one.after for one in inputs.scores) else None,
        distributions=tables.distribution_bars(inputs.distributions),
        stage_bars=tables.duration_bars(inputs.timings),
        step_bars=tables.step_bars(inputs.history),
        funnel=funnel_table(inputs.funnel),
        rejected=reject_groups(inputs.rejected),
        recipe=json.dumps(inputs.recipe, indent=2, ensure_ascii=False),
    )


def _curves(history: Sequence[Row], prefix: str) -> list[tuple[Panel, Chart]]:
    return [(panel, curve_chart(history, panel)) for panel in panels_of(history, prefix)]


def _large_and_small(views: Sequence[View]) -> tuple[list[View], list[View]]:
    small = [view for view in views if view[0].startswith("local")]
    return [view for view in views if not view[0].startswith("local")], small
