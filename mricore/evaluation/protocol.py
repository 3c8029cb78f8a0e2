"""Judge encoders by what their frozen embeddings know of a slice, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mricore.evaluation.knn import knn_predictions
from mricore.evaluation.statistics import Difference, Interval, bootstrap_mean, paired_difference

UNKNOWN = "unknown"
Embed = Callable[[ArrayLike], NDArray[np.float32]]
"""Slices (N, H, W) -> embeddings (N, C)."""


@dataclass(frozen=True)
class LabelledSlices:
    """Slices of any sizes in [0, 1], the patient of each, and categories of each by task."""

    images: Sequence[NDArray[np.float32]]
    patients: NDArray[np.str_]
    categories: Mapping[str, NDArray[np.str_]]


@dataclass(frozen=True)
class Score:
    """k-NN accuracy of one task before and after training, and the paired difference.

    ``chance`` is the accuracy of always naming the most frequent class. A task that cannot be judged has
    no scores and a ``note`` that says why.
    """

    task: str
    slices: int
    patients: int
    classes: int
    chance: float | None = None
    before: Interval | None = None
    after: Interval | None = None
    difference: Difference | None = None
    note: str = ""

    def __str__(self) -> str:
        if self.after is None:
            return f"{self.task}: not judged, {self.note}"
        change = ""
        if self.before and self.difference:
            gain = self.difference
            change = f", before training {self.before}, difference {gain.interval}, p {gain.p:.3g}"
        where = f"over {self.slices:,} slices of {self.patients:,} patients"
        return f"{self.task}: k-NN accuracy {self.after} {where} (chance {self.chance:.3f}){change}"


def embed_slices(embed: Embed, images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Embeddings (n, C) of slices of different sizes, grouped by size for speed."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(index)
    parts = {index: row for places in shapes.values() for index, row in _embedded(embed, images, places)}
    return np.stack([parts[index] for index in range(len(images))])


def judge(
    slices: LabelledSlices, after: NDArray[np.float32], before: NDArray[np.float32] | None, seed: int
) -> list[Score]:
    """k-NN score of every task for embeddings (n, C) after and, if given, before training."""
    return [
        _score(task, labels, slices.patients, after, before, seed)
        for task, labels in slices.categories.items()
    ]


def _embedded(
    embed: Embed, images: Sequence[NDArray[np.float32]], places: list[int]
) -> zip[tuple[int, NDArray[np.float32]]]:
    return zip(places, embed(np.stack([images[index] for index in places])), strict=True)


def _score(
    task: str,
    labels: NDArray[np.str_],
    patients: NDArray[np.str_],
    after: NDArray[np.float32],
    before: NDArray[np.float32] | None,
    seed: int,
) -> Score:
    """A class seen in one patient only can never be found in another, so such slices are left out."""
    usable = np.isin(labels, _shared_classes(labels, patients))
    labels, patients = labels[usable], patients[usable]
    classes, counts = np.unique(labels, return_counts=True)
    score = Score(task, len(labels), len(np.unique(patients)), len(classes))
    if len(classes) < 2:
        return Score(task, score.slices, score.patients, score.classes, note=_why(len(classes)))
    right = [
        (knn_predictions(features[usable], labels, patients) == labels).astype(np.float64)
        for features in (after, before)
        if features is not None
    ]
    intervals = [bootstrap_mean(values, patients, np.random.default_rng(seed)) for values in right]
    difference = None
    if before is not None:
        difference = paired_difference(right[1], right[0], patients, np.random.default_rng(seed))
    return Score(
        task,
        score.slices,
        score.patients,
        score.classes,
        chance=float(counts.max() / counts.sum()),
        after=intervals[0],
        before=intervals[1] if before is not None else None,
        difference=difference,
    )


def _shared_classes(labels: NDArray[np.str_], patients: NDArray[np.str_]) -> list[str]:
    known = [str(label) for label in np.unique(labels) if label != UNKNOWN]
    return [label for label in known if len(np.unique(patients[labels == label])) > 1]


def _why(classes: int) -> str:
    found = "no class" if classes == 0 else "only one class"
    return f"{found} occurs in two patients or more"
