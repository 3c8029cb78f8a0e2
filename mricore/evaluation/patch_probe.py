"""Segmentation from patch features alone, learned from a few slices: a cheap proxy of few-shot adaptation.

A patch's target are the shares of the classes in it. Predicted scores of patches are enlarged bilinearly to
the slice's own pixels, where the largest one decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mricore.config.probes import PatchProbe
from mricore.evaluation.features import Array, FeaturesOf, block_means
from mricore.evaluation.labels import strongest
from mricore.evaluation.logistic import one_hot, path
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import measure
from mricore.evaluation.metrics.overlap import Labels
from mricore.evaluation.patch_votes import PatchBank
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Draw, Part
from mricore.evaluation.tasks.volume import SliceKey

PROTOCOL = "patch_probe"
Scores = Callable[[Array], NDArray[np.floating]]
"""Patch features (..., C) -> scores of the classes (..., K)."""


@dataclass(frozen=True)
class Taught:
    """Patch features (h, w, C) of a slice, and its mask (R, C)."""

    features: Array
    mask: Labels


@dataclass(frozen=True)
class Outcome:
    """Measurements, the predicted mask of each volume, and the strength of L2 that was chosen (0 for knn)."""

    rows: list[Measurement]
    predictions: Mapping[str, Labels]
    l2: float


def run_draw(
    encoder: str,
    features: FeaturesOf,
    labelled: LabelledTask,
    draw: Draw,
    settings: PatchProbe,
    part: Part = "test",
    device: str = "cpu",
) -> Outcome:
    """Learn from the draw's slices and segment all slices of a part's volumes.

    Learning, and the votes of ``knn``, are computed on ``device``; enlarging and scoring on the CPU.

    Raises:
        ValueError: the draw has no validation slices, which choose the strength of L2.
    """
    classes = tuple(labelled.task.classes)
    training = [_taught(features, labelled, key) for key in draw.training]
    validation = [_taught(features, labelled, key) for key in draw.validation]
    scores, l2 = learned(training, validation, len(classes) + 1, settings, device)
    rows: list[Measurement] = []
    predictions = {}
    for volume in labelled.of(part):
        predicted = segmented(scores, features(volume.case), volume.mask.shape[1:])
        predictions[volume.case] = predicted
        rows += [
            Measurement(
                *(PROTOCOL, labelled.task.name, settings.head, encoder, draw.number, volume.patient),
                *(f"{volume.case}{suffix}", label, metric, value),
            )
            for suffix, label, metric, value in measure(
                predicted, volume.mask, volume.spacing, classes, "strict"
            )
        ]
    return Outcome(rows, predictions, l2)


def learned(
    training: Sequence[Taught],
    validation: Sequence[Taught],
    classes: int,
    settings: PatchProbe,
    device: str = "cpu",
) -> tuple[Scores, float]:
    """Scores of patches as a function of their features, and the strength of L2 chosen (0 for knn).

    ``classes`` counts the background.
    """
    patches = np.concatenate([_flat(one.features) for one in training])
    targets = np.concatenate([_flat(shares(one.mask, one.features.shape[:2], classes)) for one in training])
    if settings.head == "knn":
        bank = PatchBank.of(patches, targets, settings.neighbours, settings.temperature, device)
        return bank.votes, 0.0
    if len(settings.l2) > 1 and not validation:
        raise ValueError("a strength of L2 can only be chosen with validation slices")
    strongest_first = sorted(settings.l2, reverse=True)
    found = path(patches, targets, strongest_first, device)
    dice = [mean_dice(one.logits, validation, classes) for one in found] if validation else [0.0]
    chosen = int(np.argmax(dice))
    return found[chosen].logits, strongest_first[chosen]


def segmented(scores: Scores, features: Array, size: tuple[int, ...]) -> Labels:
    """Masks (S, R, C) of slices with patch features (S, h, w, C) for slices of ``size`` pixels."""
    return np.stack([_enlarged(scores(grid), size) for grid in features])


def shares(mask: Labels, grid: tuple[int, ...], classes: int) -> NDArray[np.float64]:
    """How much of each patch (h, w) belongs to each class (K): (h, w, K), summing to 1."""
    return block_means(one_hot(mask, classes), grid[0], grid[1])


def mean_dice(scores: Scores, slices: Sequence[Taught], classes: int) -> float:
    """2D Dice over slices and classes (without background); a class counts on slices that show it."""
    found = []
    for one in slices:
        predicted = segmented(scores, one.features[None], one.mask.shape)[0]
        for label in range(1, classes):
            truth, called = one.mask == label, predicted == label
            if truth.any():
                found.append(2 * (truth & called).sum() / (truth.sum() + called.sum()))
    return float(np.mean(found)) if found else 0.0


def _taught(features: FeaturesOf, labelled: LabelledTask, key: SliceKey) -> Taught:
    return Taught(features(key.case)[key.index], labelled.slice(key)[1])


def _enlarged(scores: NDArray[np.floating], size: tuple[int, ...]) -> Labels:
    """Classes (R, C) of scores (h, w, K)."""
    grid = torch.from_numpy(np.ascontiguousarray(scores, np.float32)).permute(2, 0, 1)[None]
    large = F.interpolate(grid, (size[0], size[1]), mode="bilinear", align_corners=False)
    return strongest(large)[0]


def _flat(grid: NDArray[np.floating]) -> NDArray[np.floating]:
    return grid.reshape(-1, grid.shape[-1])
