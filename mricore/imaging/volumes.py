"""Images of a series -> volumes: parallel slices of one contrast, evenly spaced, without gaps."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from mricore.config.curation import Curation
from mricore.imaging.frames import Frame
from mricore.imaging.geometry import distance_along, normal
from mricore.records import Level, Reason

Tally = Counter[tuple[Level, Reason]]
Copies = tuple[Frame, ...]
"""Images with the same identity: one image, unless the archive holds it more than once."""

SAME_PLACE = 0.01
"""Two slices nearer than this (mm) are at the same position."""
SAME_ORIENTATION = 0.01
"""Direction cosines that differ by less (0.6 degrees) belong to one stack: exports round them."""
SAME_SPACING = 0.001
SAME_ECHO_TIME = 0.05
SAME_B_VALUE = 1.0
SAME_INVERSION_TIME = 0.5
SAME_FLIP_ANGLE = 0.5
FAR_APART = 5.0
"""Blocks of slices that are further apart than this many slice distances are volumes of their own."""
SAME_ORIGIN = 5.0
"""Images whose corners are nearer than this (mm) in their plane belong to one stack; a left and a right one
do not. It leaves room for orientations that exports have rounded."""


@dataclass(frozen=True)
class Volume:
    """Slices in order along their normal; ``spacing_slice`` is their distance in mm (NaN for one slice).

    Each slice is a tuple of images with the same identity, as an archive may hold it more than once: the
    first is to be used, the others serve where it cannot be decoded.
    """

    slices: tuple[Copies, ...]
    spacing_slice: float

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The first image of each slice."""
        return tuple(copies[0] for copies in self.slices)


def build_volumes(frames: Iterable[Frame], policy: Curation) -> tuple[list[Volume], Tally]:
    """Volumes of all series, and what was left out; the order of ``frames`` does not matter.

    Counts are of volumes, and of images for DUPLICATE_IMAGE. A volume that is not continuous is left out as
    a whole (paper section 4.1).
    """
    tally: Tally = Counter()
    by_series: dict[str, list[Copies]] = defaultdict(list)
    for copies in _copies(frames):
        if len(copies) > 1:
            tally["image", Reason.DUPLICATE_IMAGE] += len(copies) - 1
        by_series[copies[0].series_id].append(copies)
    volumes = []
    for key in sorted(by_series):
        for stack in _stacks(by_series[key], policy):
            for candidate, flaw in _candidates(stack, policy):
                if flaw is None:
                    volumes.append(candidate)
                else:
                    tally["volume", flaw] += 1
    return volumes, tally


def _copies(frames: Iterable[Frame]) -> list[Copies]:
    """Images with the same identity together, those with the smallest place in the archive first."""
    found: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        found[frame.slice_id].append(frame)
    return [tuple(sorted(found[key], key=lambda one: (one.file, one.frame))) for key in sorted(found)]


def _stacks(series: Sequence[Copies], policy: Curation) -> list[list[Copies]]:
    """Images of one series grouped by all that the slices of a volume share, first acquired first.

    Some scans change flip angle or times from slice to slice; if grouping by them leaves only crumbs, and
    all images lie at places of their own, they are one stack.
    """
    firsts = [copies[0] for copies in series]
    place = (
        _alike([one.orientation for one in firsts], SAME_ORIENTATION),
        _alike([one.spacing for one in firsts], SAME_SPACING),
        _alike([_origin_in_plane(one) for one in firsts], SAME_ORIGIN),
        [(one.rows, one.columns, one.component, one.stack) for one in firsts],
    )
    contrast = (
        _alike([(one.echo_time,) for one in firsts], SAME_ECHO_TIME),
        _alike([(one.b_value,) for one in firsts], SAME_B_VALUE),
        _alike([(one.inversion_time,) for one in firsts], SAME_INVERSION_TIME),
        _alike([(one.flip_angle,) for one in firsts], SAME_FLIP_ANGLE),
        [(one.echo_number, one.temporal_position) for one in firsts],
    )
    contrasts = {copies[0].slice_id: label for copies, *label in zip(series, *contrast, strict=True)}
    stacks = []
    for stack in _grouped(series, list(zip(*place, strict=True))):
        parts = _grouped(stack, [tuple(contrasts[copies[0].slice_id]) for copies in stack])
        crumbs = all(len(part) < policy.min_slices for part in parts)
        alone = len(_positions(stack)[0]) == len(stack) >= policy.min_slices
        stacks += [stack] if crumbs and alone else parts
    return sorted(stacks, key=lambda stack: min(_acquired(copies) for copies in stack))


def _grouped(images: Sequence[Copies], labels: Sequence[Any]) -> list[list[Copies]]:
    groups: dict[Any, list[Copies]] = defaultdict(list)
    for copies, label in zip(images, labels, strict=True):
        groups[label].append(copies)
    return list(groups.values())


def _origin_in_plane(frame: Frame) -> tuple[float, float]:
    """Where in its own plane an image begins (mm along rows and along columns)."""
    row, column = frame.orientation[:3], frame.orientation[3:]
    return distance_along(row, frame.position), distance_along(column, frame.position)


def _alike(vectors: Sequence[tuple[float, ...]], tolerance: float) -> list[int]:
    """A label for each vector: those within ``tolerance`` of one representative share it.

    Rounding would part values that lie on either side of a rounding boundary. Representatives are taken
    in sorted order, so labels do not depend on the order of the input; NaN is like NaN.
    """
    known = [tuple(-1e9 if math.isnan(value) else value for value in vector) for vector in vectors]
    representatives: list[tuple[float, ...]] = []
    labels = {}
    for vector in sorted(set(known)):
        near = (i for i, other in enumerate(representatives) if _distance(vector, other) <= tolerance)
        labels[vector] = next(near, len(representatives))
        if labels[vector] == len(representatives):
            representatives.append(vector)
    return [labels[vector] for vector in known]


def _distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def _candidates(stack: list[Copies], policy: Curation) -> Iterator[tuple[Volume, Reason | None]]:
    """The volumes of a stack, each with its flaw if it has one; a pass that does not reach all places has."""
    for block in _blocks(*_positions(stack), policy):
        places, groups = block
        spacing = _spacing(places)
        passes = _passes(groups)
        if passes is None:
            yield Volume(tuple(group[0] for group in groups), spacing), Reason.DUPLICATE_POSITION
            continue
        for slices in passes:
            whole = len(slices) == len(places)
            yield (
                Volume(tuple(slices), spacing),
                _flaw(places, policy) if whole else Reason.DUPLICATE_POSITION,
            )


def _flaw(places: Sequence[float], policy: Curation) -> Reason | None:
    """Why slices at these places (mm, ascending) are no continuous volume."""
    if len(places) < policy.min_slices:
        return Reason.TOO_FEW_SLICES
    spacing = _spacing(places)
    uneven = (abs(after - before - spacing) for before, after in pairwise(places))
    return Reason.GAP if any(error > policy.spacing_tolerance * spacing for error in uneven) else None


def _spacing(places: Sequence[float]) -> float:
    """The distance of neighbouring places (mm), NaN if there is but one."""
    distances = [after - before for before, after in pairwise(places)]
    return median(distances) if distances else math.nan


def _blocks(
    places: list[float], groups: list[list[Copies]], policy: Curation
) -> list[tuple[list[float], list[list[Copies]]]]:
    """The stack, or its parts if each is continuous by itself and they lie far apart, as of two breasts."""
    spacing = _spacing(places)
    cuts = [k for k, (a, b) in enumerate(pairwise(places), 1) if b - a > FAR_APART * spacing]
    bounds = list(pairwise([0, *cuts, len(places)]))
    if not cuts or any(_flaw(places[first:after], policy) for first, after in bounds):
        return [(places, groups)]
    return [(places[first:after], groups[first:after]) for first, after in bounds]


def _passes(groups: Sequence[Sequence[Copies]]) -> list[list[Copies]] | None:
    """Images that were acquired together: one per position, in the order of the positions.

    Repeated positions are time points or diffusion directions: the k-th occurrences in acquisition order
    belong together. If positions occur unequally often, as in an aborted scan, acquisition numbers tell the
    passes apart, or that each pass ends before the next begins. Otherwise nothing does: None.
    """
    if any(len({_acquired(one)[:3] for one in group}) < len(group) for group in groups):
        return None
    ordered = [sorted(group, key=_acquired) for group in groups]
    passes = [
        [group[number] for group in ordered if number < len(group)]
        for number in range(max(len(group) for group in ordered))
    ]
    if len({len(group) for group in groups}) == 1:
        return passes
    by_number = _grouped([one for group in ordered for one in group], _acquisitions(ordered))
    if len(by_number) > 1 and all(_at_own_places(images, ordered) for images in by_number):
        return by_number
    spans = [(min(map(_acquired, images)), max(map(_acquired, images))) for images in passes]
    in_turn = len(passes) > 1 and all(end < start for (_, end), (start, _) in pairwise(spans))
    return passes if in_turn else None


def _acquisitions(groups: Sequence[Sequence[Copies]]) -> list[int | None]:
    return [one[0].acquisition_number for group in groups for one in group]


def _at_own_places(images: Sequence[Copies], groups: Sequence[Sequence[Copies]]) -> bool:
    """Whether no two of the images are at one position."""
    wanted = {one[0].slice_id for one in images}
    return all(sum(one[0].slice_id in wanted for one in group) <= 1 for group in groups)


def _positions(stack: list[Copies]) -> tuple[list[float], list[list[Copies]]]:
    """Places (mm) along the common normal, ascending, and the images at each of them."""
    direction = normal(min(copies[0].orientation for copies in stack))
    placed = [(distance_along(direction, copies[0].position), copies) for copies in stack]
    places: list[float] = []
    groups: list[list[Copies]] = []
    for place, copies in sorted(placed, key=lambda one: (one[0], one[1][0].slice_id)):
        if not places or place - places[-1] > SAME_PLACE:
            places.append(place)
            groups.append([])
        groups[-1].append(copies)
    return places, groups


def _acquired(copies: Copies) -> tuple[int, int, float, str]:
    """When an image was acquired; cine images may share their numbers and differ in trigger time alone."""
    one = copies[0]
    trigger = 0.0 if math.isnan(one.trigger_time) else one.trigger_time
    return one.acquisition_number or 0, one.instance_number or 0, trigger, one.slice_id
