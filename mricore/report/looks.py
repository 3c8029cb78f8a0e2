"""How each encoder looks on a whole page: one order, one colour, one sign, whatever the figure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mricore.report.drawing import AMBER, BLUE, GREEN, GREY, ORANGE, PINK, SKY

COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY)
BASELINE = GREY
MARKERS = ("o", "s", "^", "D", "v", "P")
HATCHES = ("", "////", "....", "\\\\\\\\")
"""Colours repeat from the seventh encoder on; the hatch and the marker then differ."""
SHORT = 26
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_CHECKPOINT = re.compile(
    r"^(?P<run>.*?)[\s@:,/_-]*\b(?P<unit>epoch|step)[\s=:_-]*(?P<at>\d+)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Look:
    """Colour, marker and hatch of an encoder, and its name where room is short."""

    colour: str
    marker: str
    hatch: str
    short: str


@dataclass(frozen=True)
class Checkpoint:
    """What the name of an encoder tells of its training: the run, "epoch" or "step", and how many."""

    run: str
    unit: str
    at: int


def looks(encoders: Iterable[str], baseline: str | None) -> dict[str, Look]:
    """A look for each encoder: the baseline first and grey, then the others in the order of their names."""
    ordered = sorted(set(encoders), key=lambda name: (name != baseline, natural(name)))
    found = {}
    others = [name for name in ordered if name != baseline]
    for name in ordered:
        place = -1 if name == baseline else others.index(name)
        colour = BASELINE if place < 0 else COLOURS[place % len(COLOURS)]
        round_ = max(place, 0) // len(COLOURS)
        marker = "X" if place < 0 else MARKERS[(place + round_) % len(MARKERS)]
        found[name] = Look(colour, marker, HATCHES[round_ % len(HATCHES)], shortened(name))
    return found


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts "epoch 4" before "epoch 16"."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def shortened(name: str, most: int = SHORT) -> str:
    """A name of at most ``most`` characters: what begins and what ends it."""
    if len(name) <= most:
        return name
    kept = most - 1
    return name[: kept - kept // 2] + ELLIPSIS + name[len(name) - kept // 2 :]


def checkpoint_of(name: str) -> Checkpoint | None:
    """What a name such as "mine@epoch4" or "mine step 47536" tells; None if it tells nothing."""
    found = _CHECKPOINT.match(name)
    return found and Checkpoint(found["run"] or "run", found["unit"].lower(), int(found["at"]))


def series(
    encoders: Iterable[str], known: Mapping[str, Checkpoint]
) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Encoders that are checkpoints of one run: (run, unit) -> (epoch or step, encoder), in time's order.

    ``known`` tells of encoders whose names do not. A run with one checkpoint only is no series.
    """
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in sorted(set(encoders)):
        checkpoint = known.get(name) or checkpoint_of(name)
        if checkpoint:
            found.setdefault((checkpoint.run, checkpoint.unit), []).append((checkpoint.at, name))
    return {run: sorted(points) for run, points in found.items() if len(points) > 1}
