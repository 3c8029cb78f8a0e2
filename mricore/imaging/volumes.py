"""Images of a series -> volumes: parallel slices of one contrast, evenly spaced, without gaps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from mricore.config.schema import Curation
from mricore.imaging.geometry import position_along_normal
from mricore.imaging.headers import FrameHeader
from mricore.records import Level, Reason

Tally = Counter[tuple[Level, Reason]]
SAME_PLACE = 0.01
"""Two slices nearer than this (mm) are at the same position."""
_COMPONENTS = "M P R I W F IP OP IN_PHASE OUT_PHASE OPP_PHASE WATER FAT FAT_FRACTION PHASE MAGNITUDE"
COMPONENTS = frozenset(_COMPONENTS.split())
"""Words of ImageType that tell components of one acquisition apart (Dixon, magnitude and phase)."""


@dataclass(frozen=True, repr=False)
class Volume:
    """Slices in order along their normal; ``spacing_slice`` is their distance in mm (NaN for one slice)."""

    frames: tuple[FrameHeader, ...]
    spacing_slice: float


def build_volumes(headers: Iterable[FrameHeader], policy: Curation) -> tuple[list[Volume], Tally]:
    """Volumes of all series, and what was left out; the order of ``headers`` does not matter."""
    tally: Tally = Counter()
    groups: dict[tuple[object, ...], list[FrameHeader]] = defaultdict(list)
    for header in _without_copies(headers, tally):
        groups[_contrast(header)].append(header)
    volumes = []
    for key in sorted(groups, key=repr):
        for frames in _passes(groups[key], tally):
            volume = _ordered(frames)
            reason = _flaw(volume, policy)
            if reason is None:
                volumes.append(volume)
            else:
                tally["volume", reason] += 1
    return volumes, tally


def _without_copies(headers: Iterable[FrameHeader], tally: Tally) -> list[FrameHeader]:
    """One header per SOP instance: the one with the smallest path; the rest are copies of the file."""
    unique: dict[str, FrameHeader] = {}
    for header in sorted(headers, key=lambda one: one.uri):
        if header.sop_uid in unique:
            tally["file", Reason.DUPLICATE_FILE] += 1
        else:
            unique[header.sop_uid] = header
    return list(unique.values())


def _contrast(header: FrameHeader) -> tuple[object, ...]:
    """What all slices of a volume share. Numbers are rounded, as exports jitter in the last digits."""
    return (
        header.series_uid,
        header.rows,
        header.columns,
        tuple(round(value, 2) + 0.0 for value in header.orientation),  # + 0.0 turns -0.0 into 0.0
        tuple(round(value, 3) for value in header.spacing),
        header.echo_number,
        _rounded(header.echo_time, 1),
        _rounded(header.b_value, 0),
        header.temporal_position,
        tuple(word for word in header.image_type[2:] if word in COMPONENTS),
    )


def _rounded(value: float, digits: int) -> float | None:
    """None for a missing number, since NaN equals nothing, not even itself."""
    return None if isnan(value) else round(value, digits)


def _passes(frames: list[FrameHeader], tally: Tally) -> list[list[FrameHeader]]:
    """Split repeated acquisitions of the same positions (time points, diffusion directions).

    If every position occurs equally often, the k-th occurrences in acquisition order form one volume;
    otherwise nothing tells which slices belong together, and the group is rejected.
    """
    by_position: dict[int, list[FrameHeader]] = defaultdict(list)
    for frame in frames:
        by_position[round(position_along_normal(frame.orientation, frame.position) / SAME_PLACE)].append(
            frame
        )
    repeats = {len(group) for group in by_position.values()}
    if repeats == {1}:
        return [frames]
    if len(repeats) > 1:
        tally["volume", Reason.DUPLICATE_POSITION] += 1
        return []
    ordered = [sorted(group, key=_acquired) for group in by_position.values()]
    return [list(one_pass) for one_pass in zip(*ordered, strict=True)]


def _acquired(header: FrameHeader) -> tuple[int, int, str]:
    return header.acquisition_number or 0, header.instance_number or 0, header.sop_uid


def _ordered(frames: Sequence[FrameHeader]) -> Volume:
    """Sort along the normal and measure the spacing."""
    placed = sorted(frames, key=lambda frame: (_place(frame), frame.sop_uid))
    distances = np.diff([_place(frame) for frame in placed])
    return Volume(tuple(placed), float(np.median(distances)) if len(distances) else float("nan"))


def _flaw(volume: Volume, policy: Curation) -> Reason | None:
    """Why a stack of slices is not a continuous volume (paper section 4.1), or None."""
    if len(volume.frames) < policy.min_slices:
        return Reason.TOO_FEW_SLICES
    distances = np.diff([_place(frame) for frame in volume.frames])
    deviation = np.abs(distances - volume.spacing_slice)
    if len(deviation) and deviation.max() > policy.spacing_tolerance * volume.spacing_slice:
        return Reason.GAP
    return None


def _place(frame: FrameHeader) -> float:
    return position_along_normal(frame.orientation, frame.position)
