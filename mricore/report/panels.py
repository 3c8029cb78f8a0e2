"""Which curves the report shows, and what a reader should know of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Row = Mapping[str, float]
"""Metrics of one step; the key "step" and names with a prefix such as "loss/"."""


@dataclass(frozen=True)
class Panel:
    """One small chart: heading, what is measured and in which unit, and (key, label) of its lines."""

    title: str
    hint: str
    lines: tuple[tuple[str, str], ...]


KNOWN = (
    Panel("Total loss", "weighted sum, nats", (("loss/total", ""),)),
    Panel(
        "DINO",
        "image token, cross-entropy in nats",
        (("loss/dino_global", "global"), ("loss/dino_local", "local")),
    ),
    Panel("iBOT", "masked patches, cross-entropy in nats", (("loss/ibot", ""),)),
    Panel("KoLeo", "minus log distance of image tokens to their nearest", (("loss/koleo", ""),)),
    Panel(
        "Teacher entropy",
        "0 certain, 1 uniform; staying at either end is collapse",
        (("gauge/teacher_entropy", ""),),
    ),
    Panel("Prototypes in use", "effective share of all prototypes", (("gauge/prototype_use", ""),)),
    Panel("RankMe", "effective rank of the image tokens, dimensions", (("gauge/rank", ""),)),
    Panel(
        "Nearest neighbour",
        "distance between image tokens on the unit sphere",
        (("gauge/nearest_distance", ""),),
    ),
    Panel(
        "Agreement",
        "share of crops where student and teacher prefer one prototype",
        (("gauge/agreement", ""),),
    ),
    Panel("Gradient norm", "before clipping", (("gauge/gradient_norm", ""),)),
    Panel("Learning rate", "peak of all parameter groups", (("schedule/lr", ""),)),
    Panel("Weight decay", "coefficient of AdamW", (("schedule/weight_decay", ""),)),
    Panel(
        "Teacher momentum", "share of the old teacher kept in a step", (("schedule/teacher_momentum", ""),)
    ),
    Panel("Teacher temperature", "divides the teacher's logits", (("schedule/teacher_temperature", ""),)),
    Panel("Throughput", "slices per second, all workers", (("progress/slices_per_s", ""),)),
)


def panels_of(history: Sequence[Row], prefix: str) -> list[Panel]:
    """Panels for the metrics under ``prefix`` that occur in the history; unknown metrics come last."""
    found = {key for row in history for key in row if key.startswith(prefix)}
    known = [panel for panel in KNOWN if any(key in found for key, _ in panel.lines)]
    named = {key for panel in KNOWN for key, _ in panel.lines}
    others = [Panel(_words(key), "", ((key, ""),)) for key in sorted(found - named)]
    return known + others


def _words(key: str) -> str:
    return key.partition("/")[2].replace("_", " ").capitalize()
