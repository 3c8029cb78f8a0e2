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
    Panel("Total loss", "what training minimises", (("loss/total", ""),)),
    Panel(
        "DINO",
        "image token, cross-entropy in nats",
        (("loss/dino_global", "global"), ("loss/dino_local", "local")),
    ),
    Panel("iBOT", "masked patches, cross-entropy in nats", (("loss/ibot", ""),)),
    Panel("KoLeo", "minus log distance of image tokens to their nearest", (("loss/koleo", ""),)),
    Panel(
        "Segmentation",
        "Dice of a patch probe on patients of pool and development",
        (("validation/segmentation", ""),),
    ),
    Panel("k-NN accuracy", "mean over tasks, neighbours from other patients", (("validation/mean", ""),)),
    Panel(
        "k-NN by task",
        "accuracy on slices of the dataset",
        tuple((f"validation/{task}", task) for task in ("location", "sequence", "plane", "vendor")),
    ),
    Panel(
        "Teacher entropy",
        "0 certain, 1 uniform; staying at either end is collapse",
        (("gauge/teacher_entropy", ""),),
    ),
    Panel("Prototypes in use", "effective share of all prototypes", (("gauge/prototype_use", ""),)),
    Panel(
        "Information",
        "what an answer of the teacher tells of its crop, nats; 0 is collapse",
        (("gauge/information", ""),),
    ),
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
    Panel("Update", "size of one update relative to the weights", (("gauge/update_norm", ""),)),
    Panel("Drift", "distance of the encoder from its first weights, relative", (("gauge/drift", ""),)),
    Panel("Learning rate", "peak of all parameter groups", (("schedule/lr", ""),)),
    Panel("Weight decay", "coefficient of AdamW", (("schedule/weight_decay", ""),)),
    Panel(
        "Teacher momentum", "share of the old teacher kept in a step", (("schedule/teacher_momentum", ""),)
    ),
    Panel("Teacher temperature", "divides the teacher's logits", (("schedule/teacher_temperature", ""),)),
    Panel("Trunk", "factor on the encoder's learning rate", (("schedule/trunk_scale", ""),)),
    Panel("Crop size", "side of a global crop in pixels", (("schedule/global_size", ""),)),
    Panel("Throughput", "slices per second, all workers", (("progress/slices_per_s", ""),)),
)


def panels_of(history: Sequence[Row], prefix: str) -> list[Panel]:
    """Panels for the metrics under ``prefix`` that occur in the history; unknown metrics come last.

    A schedule that never changes is part of the recipe and gets no panel.
    """
    found = {key for row in history for key in row if key.startswith(prefix)}
    if prefix == "schedule/":
        found = {key for key in found if len({row[key] for row in history if key in row}) > 1}
    known = [panel for panel in KNOWN if any(key in found for key, _ in panel.lines)]
    named = {key for panel in KNOWN for key, _ in panel.lines}
    others = [Panel(_words(key), "", ((key, ""),)) for key in sorted(found - named)]
    return known + others


def _words(key: str) -> str:
    return key.partition("/")[2].replace("_", " ").capitalize()
