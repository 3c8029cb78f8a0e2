"""Images of a series -> volumes: parallel slices of one contrast, evenly spaced, without gaps."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from mricore.config.schema import Curation
from mricore.imaging.geometry import distance_along, normal
from mricore.imaging.headers import FrameHeader
from mricore.records import Level, Reason

Tally = Counter[tuple[Level, Reason]]

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
_COMPONENTS = frozenset(
    {"M", "P", "R", "I", "PHASE", "MAGNITUDE", "REAL", "IMAGINARY"}
    | {"W", "F", "WATER", "FAT", "IP", "OP", "IN", "OUT", "OPP", "INPHASE", "OUTPHASE"}
)
"""Words of ImageType that tell components of one acquisition apart (Dixon; magnitude and phase)."""


@dataclass(frozen=True, repr=False)
class Volume:
    """Slices in order along their normal; ``spacing_slice`` is their distance in mm (NaN for one slice)."""

    frames: tuple[FrameHeader, ...]
    spacing_slice: float


def build_volumes(headers: Iterable[FrameHeader], policy: Curation) -> tuple[list[Volume], Tally]:
    """Volumes of all series, and what was left out; the order of ``headers`` does not matter.

    Counts are of volumes, and of files for DUPLICATE_FILE. A volume that is not continuous is left out as
    a whole (paper section 4.1).
    """
    tally: Tally = Counter()
    by_series: dict[tuple[str, str, str], list[FrameHeader]] = defaultdict(list)
    for header in _without_copies(headers, tally):
        by_series[header.patient_key, header.study_uid, header.series_uid].append(header)
    volumes = []
    for key in sorted(by_series):
        for stack in _stacks(by_series[key]):
            found, flaw = _volumes_of(stack, policy)
            if flaw is None:
                volumes.extend(found)
            else:
                tally["volume", flaw] += len(found)
    return volumes, tally


def _without_copies(headers: Iterable[FrameHeader], tally: Tally) -> list[FrameHeader]:
    """One header per patient and SOP instance: the one with the smallest path; the rest are copies.

    Careless anonymisers give several patients the same UIDs, which must not merge them.
    """
    unique: dict[tuple[str, str], FrameHeader] = {}
    for header in sorted(headers, key=lambda one: (one.patient_key, one.sop_uid, one.uri)):
        key = header.patient_key, header.sop_uid
        if key in unique:
            tally["file", Reason.DUPLICATE_FILE] += 1
        else:
            unique[key] = header
    return list(unique.values())


def _stacks(series: Sequence[FrameHeader]) -> list[list[FrameHeader]]:
    """Images of one series grouped by all that the slices of a volume share, first acquired first."""
    tolerant = (
        _alike([one.orientation for one in series], SAME_ORIENTATION),
        _alike([one.spacing for one in series], SAME_SPACING),
        _alike([(one.echo_time,) for one in series], SAME_ECHO_TIME),
        _alike([(one.b_value,) for one in series], SAME_B_VALUE),
        _alike([(one.inversion_time,) for one in series], SAME_INVERSION_TIME),
        _alike([(one.flip_angle,) for one in series], SAME_FLIP_ANGLE),
        _alike([_origin_in_plane(one) for one in series], SAME_ORIGIN),
    )
    stacks: dict[tuple[object, ...], list[FrameHeader]] = defaultdict(list)
    for header, *labels in zip(series, *tolerant, strict=True):
        exact = (header.rows, header.columns, header.echo_number, header.temporal_position)
        stacks[(*labels, *exact, _component(header))].append(header)
    return sorted(stacks.values(), key=lambda stack: min(_acquired(header) for header in stack))


def _origin_in_plane(header: FrameHeader) -> tuple[float, float]:
    """Where in its own plane an image begins (mm along rows and along columns)."""
    row, column = header.orientation[:3], header.orientation[3:]
    return distance_along(row, header.position), distance_along(column, header.position)


def _component(header: FrameHeader) -> tuple[str, ...]:
    """Component words of ImageType, also inside values such as M_FFE or IN_PHASE."""
    words = " ".join(header.image_type[2:]).replace("_", " ").split()
    return tuple(word for word in words if word in _COMPONENTS)


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


def _volumes_of(stack: list[FrameHeader], policy: Curation) -> tuple[list[Volume], Reason | None]:
    """The volumes of a stack, and the flaw that they share.

    Repeated positions are time points or diffusion directions: if every position occurs equally often,
    the k-th occurrences in acquisition order form one volume; otherwise, or without numbers of acquisition,
    nothing tells which slices belong together.
    """
    places, groups = _positions(stack)
    distances = [after - before for before, after in pairwise(places)]
    spacing = median(distances) if distances else math.nan
    if len({len(group) for group in groups}) > 1:
        return [Volume(tuple(group[0] for group in groups), spacing)], Reason.DUPLICATE_POSITION
    if any(len({_acquired(one)[:2] for one in group}) < len(group) for group in groups):
        return [Volume(tuple(group[0] for group in groups), spacing)], Reason.DUPLICATE_POSITION
    passes = zip(*(sorted(group, key=_acquired) for group in groups), strict=True)
    volumes = [Volume(frames, spacing) for frames in passes]
    if len(places) < policy.min_slices:
        return volumes, Reason.TOO_FEW_SLICES
    if any(abs(distance - spacing) > policy.spacing_tolerance * spacing for distance in distances):
        return volumes, Reason.GAP
    return volumes, None


def _positions(stack: list[FrameHeader]) -> tuple[list[float], list[list[FrameHeader]]]:
    """Places (mm) along the common normal, ascending, and the images at each of them."""
    direction = normal(min(header.orientation for header in stack))
    placed = [(distance_along(direction, header.position), header) for header in stack]
    places: list[float] = []
    groups: list[list[FrameHeader]] = []
    for place, header in sorted(placed, key=lambda one: (one[0], one[1].sop_uid)):
        if not places or place - places[-1] > SAME_PLACE:
            places.append(place)
            groups.append([])
        groups[-1].append(header)
    return places, groups


def _acquired(header: FrameHeader) -> tuple[int, int, str]:
    return header.acquisition_number or 0, header.instance_number or 0, header.sop_uid
