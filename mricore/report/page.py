"""One self-contained HTML page about a run; it opens offline and loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mricore.report import figures
from mricore.report.figures import Row
from mricore.report.reasons import SENTENCES

Picture = NDArray[np.floating]
LOSSES = (
    ("loss", (("loss/total", "total"),)),
    ("DINO", (("loss/dino_global", "global crops"), ("loss/dino_local", "local crops"))),
    ("iBOT", (("loss/ibot", "masked patches"),)),
    ("KoLeo", (("loss/koleo", "KoLeo"),)),
)
GAUGES = (
    ("teacher entropy (0 certain, 1 uniform)", (("gauge/teacher_entropy", ""),)),
    ("prototypes in use (share)", (("gauge/prototype_use", ""),)),
    ("rank of image tokens (RankMe)", (("gauge/rank", ""),)),
    ("distance to nearest neighbour", (("gauge/nearest_distance", ""),)),
    ("student agrees with teacher (share)", (("gauge/agreement", ""),)),
    ("gradient norm", (("gauge/gradient_norm", ""),)),
)
SCHEDULES = (
    ("learning rate", (("schedule/lr", ""),)),
    ("teacher momentum", (("schedule/teacher_momentum", ""),)),
    ("teacher temperature", (("schedule/teacher_temperature", ""),)),
)


@dataclass(frozen=True)
class ReportInputs:
    """Plain data for a page; whatever is empty is left out of it.

    ``history`` has one row per step with keys ``step``, ``loss/...``, ``gauge/...``, ``schedule/...``,
    ``time/...``. ``examples`` are (slice, caption); ``crops`` per slice (caption, pictures with labels);
    ``features`` (slice, picture before, picture after). ``scores`` are table rows of text.
    """

    title: str
    generated_phantoms: bool
    facts: Sequence[tuple[str, str]]
    history: Sequence[Row] = ()
    examples: Sequence[tuple[Picture, str]] = ()
    crops: Sequence[tuple[str, Sequence[tuple[str, Picture]]]] = ()
    features: Sequence[tuple[Picture, Picture, Picture]] = ()
    scores: Sequence[Mapping[str, str]] = ()
    distributions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    funnel: Sequence[Mapping[str, Any]] = ()
    rejected: Sequence[Mapping[str, Any]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


def render(inputs: ReportInputs) -> str:
    """The page as HTML text; all given text is escaped."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["count"] = lambda value: f"{value:,}" if isinstance(value, int) else value
    template = environment.from_string(resources.files("mricore.report").joinpath("page.html").read_text())
    return template.render(
        given=inputs,
        picture=figures.picture,
        losses=_curves(inputs.history, LOSSES, 2),
        gauges=_curves(inputs.history, GAUGES, 3),
        schedules=_curves(inputs.history, SCHEDULES, 3),
        distributions=Markup(figures.bars(inputs.distributions)) if inputs.distributions else None,  # noqa: S704
        timing_bar=Markup(figures.stacked_bar(inputs.timings)) if inputs.timings else None,  # noqa: S704
        step_shares=step_shares(inputs.history),
        sentences=SENTENCES,
        funnel_columns=[
            name
            for name in ("files", "series", "volumes", "slices", "exams", "patients")
            if any(name in row for row in inputs.funnel)
        ],
        recipe=json.dumps(inputs.recipe, indent=1),
    )


def step_shares(history: Sequence[Row]) -> list[tuple[str, str]]:
    """Mean seconds per step and share of each kind of work, over the rows that tell."""
    kinds = sorted({key for row in history for key in row if key.startswith("time/")})
    means = {key: float(np.mean([row[key] for row in history if key in row])) for key in kinds}
    total = sum(means.values())
    names = {key: key.removeprefix("time/").removesuffix("_s").replace("_", " ") for key in kinds}
    return [(names[key], f"{mean:.3f} s, {mean / total:.0%}") for key, mean in means.items() if total]


def _curves(history: Sequence[Row], panels: Any, columns: int) -> Markup | None:
    present = [panel for panel in panels if any(key in row for row in history for key, _ in panel[1])]
    # our own SVG; the numbers in it come from the run
    return Markup(figures.curves(history, present, columns)) if present else None  # noqa: S704
