"""Pictures of an evaluation side by side: the same slices across encoders (paper Figs. 2d, 4c, B1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mricore.evaluation.pictures import PREDICTION, Shown
from mricore.report.evaluation_numbers import Block, block_mode, clusters_of
from mricore.report.evaluation_results import Picture
from mricore.report.looks import natural
from mricore.report.overlays import COLOURS, cluster_picture, kinds_in, overlay_picture, slice_picture

MOST_PICTURES = 72
"""Of one kind on a page, so that it stays a few megabytes."""
MOST_SLICES = 3
MOST_COUNTS = 4
"""Numbers of clusters that pictures show; the paper shows 4, 8, 16 and 32."""


@dataclass(frozen=True)
class Tile:
    """A picture as a data URI, what stands below it, and words for those who do not see it.

    ``aspect`` is width over height as a style sheet has it, ``stretch`` the height of a pixel over its width.
    """

    source: str
    caption: str
    alt: str
    aspect: str
    stretch: float


@dataclass(frozen=True)
class Sheet:
    """Rows of tiles of a task, None where a place stays empty; (word, colour) of what the colours mean."""

    task: str
    rows: list[list[Tile | None]]
    legend: list[tuple[str, str]]
    told: str


def overlay_sheets(block: Block, pictures: Sequence[Picture], encoders: Sequence[str]) -> list[Sheet]:
    """A sheet per task: a row per slice, the slice itself and what each encoder made of it."""
    found = {task: _by_slice(_of(block, pictures, task, PREDICTION)) for task in block.tasks}
    shown = {task: slices for task, slices in found.items() if slices}
    most = _slices_each(len(shown), 1 + _most_encoders(shown))
    return [_overlay_sheet(task, list(slices.values())[:most], encoders) for task, slices in shown.items()]


def cluster_sheets(block: Block, pictures: Sequence[Picture], encoders: Sequence[str]) -> list[Sheet]:
    """A sheet per task and slice: the slice, then a row per encoder, a column per number of clusters."""
    sheets = []
    per_task = {task: _by_slice(_of(block, pictures, task, "")) for task in block.tasks}
    shown = {task: slices for task, slices in per_task.items() if slices}
    most = _slices_each(len(shown), MOST_COUNTS * _most_encoders(shown))
    for task, slices in shown.items():
        sheets += [_cluster_sheet(task, views, encoders) for views in list(slices.values())[:most]]
    return sheets


def _slices_each(tasks: int, pictures: int) -> int:
    return max(1, min(MOST_SLICES, MOST_PICTURES // max(tasks * pictures, 1)))


def _most_encoders(shown: Mapping[str, Mapping[str, Mapping[str, Picture]]]) -> int:
    return max((len(views) for slices in shown.values() for views in slices.values()), default=0)


def _of(block: Block, pictures: Sequence[Picture], task: str, layer: str) -> list[Picture]:
    """The pictures of a block that have such a layer, those of the first draw first."""
    chosen = [
        one
        for one in pictures
        if (one.protocol, one.task, block_mode(one.mode)) == (block.protocol, task, block.mode)
        and one.shown.truth is not None
        and (layer in one.shown.layers if layer else any(map(clusters_of, one.shown.layers)))
    ]
    return sorted(chosen, key=lambda one: (one.draw, natural(one.shown.key)))


def _by_slice(pictures: Sequence[Picture]) -> dict[str, dict[str, Picture]]:
    """Slice -> encoder -> its first picture; slices that most encoders show come first."""
    found: dict[str, dict[str, Picture]] = {}
    for one in pictures:
        found.setdefault(one.shown.key, {}).setdefault(one.encoder, one)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), natural(item[0]))))


def _overlay_sheet(task: str, slices: Sequence[dict[str, Picture]], encoders: Sequence[str]) -> Sheet:
    rows: list[list[Tile | None]] = []
    kinds, draws = set[int](), set[int]()
    for place, views in enumerate(slices, 1):
        any_view = next(iter(views.values())).shown
        row: list[Tile | None] = [
            _tile(any_view, slice_picture(any_view), f"slice {place}", f"{task}, slice {place}")
        ]
        for encoder in encoders:
            if encoder in views:
                shown = views[encoder].shown
                kinds |= kinds_in(shown, PREDICTION)
                draws.add(views[encoder].draw)
                alt = f"{task}, slice {place}, segmented by {encoder}"
                row.append(_tile(shown, overlay_picture(shown, PREDICTION), encoder, alt))
        rows.append(row)
    return Sheet(task, rows, [COLOURS[kind] for kind in sorted(kinds)], _told_draws(draws))


def _cluster_sheet(task: str, views: dict[str, Picture], encoders: Sequence[str]) -> Sheet:
    layers = sorted(
        {layer for one in views.values() for layer in one.shown.layers if clusters_of(layer)}, key=natural
    )
    first = next(iter(views.values())).shown
    rows: list[list[Tile | None]] = []
    for name in (name for name in encoders if name in views):
        shown = views[name].shown
        grey = _tile(first, slice_picture(first), "slice", f"{task}, slice") if not rows else None
        row: list[Tile | None] = [grey]
        for layer in layers[:MOST_COUNTS]:
            alt = f"{task}, clusters of {name}, {layer}"
            there = layer in shown.layers
            row.append(
                _tile(shown, cluster_picture(shown, layer), f"{name}, {layer}", alt) if there else None
            )
        rows.append(row)
    return Sheet(task, rows, [], "")


def _tile(shown: Shown, source: str, caption: str, alt: str) -> Tile:
    rows, columns = shown.image.shape
    return Tile(source, caption, alt, f"{columns} / {rows * shown.aspect:.4g}", shown.aspect)


def _told_draws(draws: set[int]) -> str:
    return "draw " + ", ".join(str(draw) for draw in sorted(draws)) if draws else ""
