"""Images of a series -> volumes: parallel slices of one contrast, evenly spaced, without gaps."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from mricore.config.schema import Curation
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
        for stack in _stacks(by_series[key]):
            found, flaw = _volumes_of(stack, policy)
            if flaw is None:
                volumes.extend(found)
            else:
                tally["volume", flaw] += len(found)
    return volumes, tally


def _copies(frames: Iterable[Frame]) -> list[Copies]:
    """Images with the same identity together, those with the smallest place in the archive first."""
    found: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        found[frame.slice_id].append(frame)
    return [tuple(sorted(found[key], key=lambda one: (one.file, one.frame))) for key in sorted(found)]


def _stacks(series: Sequence[Copies]) -> list[list[Copies]]:
    """Images of one series grouped by all that the slices of a volume share, first acquired first."""
    firsts = [copies[0] for copies in series]
    tolerant = (
        _alike([one.orientation for one in firsts], SAME_ORIENTATION),
        _alike([one.spacing for one in firsts], SAME_SPACING),
        _alike([(one.echo_time,) for one in firsts], SAME_ECHO_TIME),
        _alike([(one.b_value,) for one in firsts], SAME_B_VALUE),
        _alike([(one.inversion_time,) for one in firsts], SAME_INVERSION_TIME),
        _alike([(one.flip_angle,) for one in firsts], SAME_FLIP_ANGLE),
        _alike([_origin_in_plane(one) for one in firsts], SAME_ORIGIN),
    )
    stacks: dict[tuple[object, ...], list[Copies]] = defaultdict(list)
    for copies, *labels in zip(series, *tolerant, strict=True):
        one = copies[0]
        exact = (one.rows, one.columns, one.echo_number, one.temporal_position, one.component, one.stack)
        stacks[(*labels, *exact)].append(copies)
    return sorted(stacks.values(), key=lambda stack: min(_acquired(copies) for copies in stack))


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


def _volumes_of(stack: list[Copies], policy: Curation) -> tuple[list[Volume], Reason | None]:
    """The volumes of a stack, and the flaw that they share.

    Repeated positions are time points or diffusion directions: if every position occurs equally often,
    the k-th occurrences in acquisition order form one volume; otherwise, or without numbers of acquisition,
    nothing tells which slices belong together.
    """
    places, groups = _positions(stack)
    distances = [after - before for before, after in pairwise(places)]
    spacing = median(distances) if distances else math.nan
    unequal = len({len(group) for group in groups}) > 1
    if unequal or any(len({_acquired(one)[:2] for one in group}) < len(group) for group in groups):
        return [Volume(tuple(group[0] for group in groups), spacing)], Reason.DUPLICATE_POSITION
    passes = zip(*(sorted(group, key=_acquired) for group in groups), strict=True)
    volumes = [Volume(slices, spacing) for slices in passes]
    if len(places) < policy.min_slices:
        return volumes, Reason.TOO_FEW_SLICES
    if any(abs(distance - spacing) > policy.spacing_tolerance * spacing for distance in distances):
        return volumes, Reason.GAP
    return volumes, None


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


def _acquired(copies: Copies) -> tuple[int, int, str]:
    one = copies[0]
    return one.acquisition_number or 0, one.instance_number or 0, one.slice_id
