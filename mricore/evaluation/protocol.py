"""Judge encoders by what their frozen embeddings know of a slice, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mricore.evaluation.knn import knn_predictions
from mricore.evaluation.statistics import Difference, Interval, bootstrap_mean, holm, paired_difference

UNKNOWN = "unknown"
FEW_PATIENTS = 12
"""Up to this many patients the bootstrap's 95% interval holds the truth in 86 to 91% of cases (simulated)."""
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

    ``slices``, ``patients`` and ``classes`` count what was judged. ``chance`` is the accuracy of always
    naming the most frequent class. ``note`` tells which slices could not be judged, and whether patients
    are few. A task that cannot be judged at all has no scores, and its ``note`` says why.
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
            return f"{self.task}: not judged; {self.note}"
        change = ""
        if self.before and self.difference:
            gain = self.difference
            change = f", before training {self.before}, difference {gain.interval}, p {gain.p:.3g}"
        where = f"over {self.slices:,} slices of {self.patients:,} patients"
        note = f"; {self.note}" if self.note else ""
        return f"{self.task}: k-NN accuracy {self.after} {where} (chance {self.chance:.3f}){change}{note}"


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
    """k-NN score of every task for embeddings (n, C) after and, if given, before training.

    The p values of the differences are Holm-corrected over the tasks.

    Raises:
        ValueError: an embedding is not finite.
    """
    features = [one for one in (after, before) if one is not None]
    scores = [
        _score(task, labels, slices.patients, features, seed) for task, labels in slices.categories.items()
    ]
    corrected = iter(holm([score.difference.p for score in scores if score.difference]))
    return [
        replace(score, difference=replace(score.difference, p=next(corrected))) if score.difference else score
        for score in scores
    ]


def _embedded(
    embed: Embed, images: Sequence[NDArray[np.float32]], places: list[int]
) -> zip[tuple[int, NDArray[np.float32]]]:
    return zip(places, embed(np.stack([images[index] for index in places])), strict=True)


def _score(
    task: str,
    labels: NDArray[np.str_],
    patients: NDArray[np.str_],
    features: Sequence[NDArray[np.float32]],
    seed: int,
) -> Score:
    """Score of ``features`` (after, and before if given).

    A class that is seen in one patient only can never be found in another: its slices are not judged,
    but stay among the neighbours, where they can mislead.
    """
    known = labels != UNKNOWN
    judged = np.isin(labels, _shared_classes(labels, patients))
    classes, counts = np.unique(labels[judged], return_counts=True)
    owners = patients[judged]
    note = _note(labels, judged, len(np.unique(owners)) if len(classes) > 1 else None)
    score = Score(task, int(judged.sum()), len(np.unique(owners)), len(classes), note=note)
    if len(classes) < 2:
        return replace(score, note=f"{_why(len(classes))}; {note}" if note else _why(len(classes)))
    right = []
    for one in features:
        predicted = knn_predictions(one[known], labels[known], patients[known])
        right.append((predicted == labels[known])[judged[known]].astype(np.float64))
    intervals = [bootstrap_mean(values, owners, np.random.default_rng(seed)) for values in right]
    score = replace(score, chance=float(counts.max() / counts.sum()), after=intervals[0])
    if len(right) == 1:
        return score
    difference = paired_difference(right[1], right[0], owners, np.random.default_rng(seed))
    return replace(score, before=intervals[1], difference=difference)


def _shared_classes(labels: NDArray[np.str_], patients: NDArray[np.str_]) -> list[str]:
    """Known classes that occur in two patients or more."""
    known = [str(label) for label in np.unique(labels) if label != UNKNOWN]
    return [label for label in known if len(np.unique(patients[labels == label])) > 1]


def _note(labels: NDArray[np.str_], judged: NDArray[np.bool_], patients: int | None) -> str:
    """What was left out of the score, and whether there are few patients; empty if nothing is to be said."""
    parts = []
    alone, counts = np.unique(labels[~judged & (labels != UNKNOWN)], return_counts=True)
    if len(alone):
        each = ", ".join(f"{name} ({count:,})" for name, count in zip(alone, counts, strict=True))
        parts.append(f"left out: {each}, seen in one patient only")
    if unknown := int((labels == UNKNOWN).sum()):
        parts.append(f"left out: {unknown:,} slices of unknown class")
    if patients is not None and patients <= FEW_PATIENTS:
        parts.append(f"only {patients} patients: intervals are somewhat too narrow")
    return "; ".join(parts)


def _why(classes: int) -> str:
    found = "no class" if classes == 0 else "only one class"
    return f"{found} occurs in two patients or more"
