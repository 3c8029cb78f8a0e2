"""All metrics of a predicted volume, for each class and in the mean over classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from mricore.evaluation.metrics.overlap import Counts, Labels, class_counts, dice_of
from mricore.evaluation.metrics.paper import BATCH, smooth_dice, voxel_surface_dice
from mricore.evaluation.metrics.surface import normalized_surface_dice

Mode = Literal["strict", "paper"]
Finding = tuple[str, str, str, float]
"""What to append to the case's name ("" or "/index of the slice"), label, metric, value (NaN: undefined)."""
MEAN = "mean"
TOLERANCE_MM = 2.0
"""Of the surface metric: docs/metrics.md tells why."""


def measure(
    predicted: Labels,
    truth: Labels,
    spacing: Sequence[float],
    classes: Sequence[str],
    mode: Mode,
    tolerance: float = TOLERANCE_MM,
) -> list[Finding]:
    """Metrics of one volume: masks (S, R, C) of 0 and 1..len(classes), spacing in mm along those axes.

    ``strict``: "dice_2d" of each slice, "dice_3d" and "nsd_mm" of the volume; undefined (NaN) where a class
    is in neither mask. ``paper``: "dice_2d" of each two slices together, "dice_3d" and "nsd_voxel" of the
    slices stacked; 1 where a class is in neither mask; spacing and tolerance are not used. It expects what
    the published code compares: masks of 256 x 256 pixels, without slices whose true mask is empty.

    Raises:
        ValueError: shapes do not agree, or a mask has a value that is no class.
    """
    if mode == "paper":
        return measure_together([(predicted, truth)], classes)[0]
    _check(predicted, truth, classes)
    per_class = []
    for label, per_slice in enumerate(class_counts(predicted, truth, len(classes)), 1):
        found = [(f"/{index}", "dice_2d", dice_of(one)) for index, one in enumerate(per_slice)]
        found.append(("", "dice_3d", dice_of(per_slice.sum(0))))
        near = normalized_surface_dice(predicted == label, truth == label, spacing, tolerance)
        per_class.append([*found, ("", "nsd_mm", near)])
    return _named(per_class, classes)


def measure_all(
    volumes: Sequence[tuple[Labels, Labels, Sequence[float]]], classes: Sequence[str], mode: Mode
) -> list[list[Finding]]:
    """Findings of each volume (predicted, truth, spacing) of a test list; see ``measure``.

    Raises:
        ValueError: as ``measure``.
    """
    if mode == "paper":
        return measure_together([(predicted, truth) for predicted, truth, _ in volumes], classes)
    return [measure(*volume, classes, mode) for volume in volumes]


def measure_together(volumes: Sequence[tuple[Labels, Labels]], classes: Sequence[str]) -> list[list[Finding]]:
    """Findings of mode "paper" for each volume (predicted, truth) of a test list.

    The published code takes pairs of slices through the whole list: a pair may hold the last slice of a
    volume and the first of the next one. Its Dice stands with the volume of its first slice.
    """
    for predicted, truth in volumes:
        _check(predicted, truth, classes)
    found = [class_counts(predicted, truth, len(classes)) for predicted, truth in volumes]
    findings = []
    start = 0
    for volume, own in zip(volumes, found, strict=True):
        following = np.concatenate(found, axis=1)[:, start:]
        skipped = -start % BATCH
        per_class = [
            list(_paper(volume, label, own[label - 1], following[label - 1], skipped))
            for label in range(1, len(classes) + 1)
        ]
        findings.append(_named(per_class, classes))
        start += own.shape[1]
    return findings


def _paper(
    volume: tuple[Labels, Labels], label: int, own: Counts, following: Counts, skipped: int
) -> Iterator[tuple[str, str, float]]:
    """(suffix, metric, value) of one class of a volume.

    ``own`` are the counts (S, 3) of its slices, ``following`` these and those of all later volumes, and
    ``skipped`` its slices (0 or 1) that belong to the last pair of the volume before.
    """
    for at in range(skipped, len(own), BATCH):
        yield f"/{at}", "dice_2d", smooth_dice(following[at : at + BATCH].sum(0))
    yield "", "dice_3d", smooth_dice(own.sum(0))
    predicted, truth = volume
    yield "", "nsd_voxel", voxel_surface_dice(predicted == label, truth == label)


def _named(per_class: Sequence[Sequence[tuple[str, str, float]]], classes: Sequence[str]) -> list[Finding]:
    """Findings with their labels, and after each the mean over the classes for which it is defined."""
    findings: list[Finding] = []
    for same in zip(*per_class, strict=True):
        suffix, metric, _ = same[0]
        values = [value for _, _, value in same]
        findings += [(suffix, name, metric, value) for name, value in zip(classes, values, strict=True)]
        findings.append((suffix, MEAN, metric, _mean(values)))
    return findings


def _mean(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _check(predicted: Labels, truth: Labels, classes: Sequence[str]) -> None:
    if predicted.shape != truth.shape or truth.ndim != 3 or not truth.size:
        raise ValueError(f"masks {predicted.shape} and {truth.shape} must be one shape (S, R, C)")
    if not classes or MEAN in classes or len(set(classes)) < len(classes):
        raise ValueError(f"classes {list(classes)} must be different names, none of them {MEAN!r}")
    largest = max(int(predicted.max()), int(truth.max()))
    if largest > len(classes):
        raise ValueError(f"a mask has the value {largest}, but there are {len(classes)} classes")
