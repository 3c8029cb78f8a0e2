"""Zero-shot segmentation by k-means on patch features or raw pixels (paper sections 2.3 and 4.4).

Both scores of the paper: the one cluster that overlaps most with the object (section 2.3), and each cluster
as the class that most of its pixels have (section 4.4). Both look at the truth to name clusters, so
they are upper bounds of what one could segment without it; ``scope="transferred"`` is not (``Clusters``).
Features of encoders with absolute positions cluster partly by place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mricore.config.probes import Clusters
from mricore.errors import UserError
from mricore.evaluation.features import Array, FeaturesOf
from mricore.evaluation.kmeans import clustering
from mricore.evaluation.logistic import Scaling
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import MEAN
from mricore.evaluation.metrics.overlap import dice
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Part
from mricore.evaluation.tasks.volume import SliceKey

PROTOCOL = "zero_shot"
BEST = "dice_2d_best_cluster"
MAJORITY = "dice_2d_majority"
Mask = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Shown:
    """A slice that shows a class: where it is, the features of its patches (h, w, C), its mask (R, C)."""

    key: SliceKey
    patient: str
    features: Array
    mask: Mask


@dataclass(frozen=True)
class Group:
    """Slices that clusters and the names of clusters come from, and those that they are judged on."""

    taught: Sequence[Shown]
    judged: Sequence[Shown]


@dataclass(frozen=True)
class Segmented:
    """A slice, the cluster of each of its pixels (R, C), and the class that each cluster is called (k,)."""

    slice: Shown
    clusters: Labels
    names: Labels


@dataclass(frozen=True)
class Outcome:
    """Measurements, and for each number of clusters the cluster of each pixel (R, C) of some slices."""

    rows: list[Measurement]
    maps: Mapping[int, Mapping[SliceKey, Mask]]


def run(
    encoder: str,
    features: FeaturesOf,
    labelled: LabelledTask,
    draw: int,
    seed: int,
    settings: Clusters,
    part: Part = "test",
    pictures: Collection[SliceKey] = (),
    device: str = "cpu",
) -> Outcome:
    """Cluster the slices of a part that show a class, and score the clusters; a draw is a start of k-means.

    ``pictures`` are the slices whose clusters are returned as maps. A number of clusters that a slice has too
    few patches for is left out. K-means is computed on ``device``, all else on the CPU.

    Raises:
        UserError: no slice of the part shows a class, or none has patches enough.
    """
    groups = _groups(labelled, features, part, settings)
    rows: list[Measurement] = []
    maps: dict[int, dict[SliceKey, Mask]] = {}
    for count in _possible(groups, settings):
        states = np.random.SeedSequence([seed, draw]).spawn(len(groups))
        found = [
            one
            for group, state in zip(groups, states, strict=True)
            for one in _segmented(group, count, len(labelled.task.classes) + 1, settings, state, device)
        ]
        mode = f"k={count}" if settings.scope == "image" else f"{settings.scope} k={count}"
        for one in found:
            about = (PROTOCOL, labelled.task.name, mode, encoder, draw, one.slice.patient)
            case = f"{one.slice.key.case}/{one.slice.key.index}"
            rows += [
                Measurement(*about, case, *score) for score in _scores(one, labelled.task.labels, settings)
            ]
        maps[count] = {
            one.slice.key: one.clusters.astype(np.uint8) for one in found if one.slice.key in pictures
        }
    return Outcome(rows, maps)


def best_cluster_dice(clusters: Labels, target: NDArray[np.bool_]) -> float:
    """2D Dice of a target (R, C) with the one cluster (R, C) that has most pixels in it (first of equals)."""
    return dice(clusters == np.bincount(clusters[target]).argmax(), target)


def majority(clusters: Sequence[Labels], masks: Sequence[Mask], count: int, classes: int) -> Labels:
    """The class (count,) that most pixels of each cluster have over all slices (R, C), first of equals."""
    votes = np.zeros((count, classes), np.int64)
    for found, mask in zip(clusters, masks, strict=True):
        np.add.at(votes, (found, mask), 1)
    return votes.argmax(1)


def enlarged(clusters: Labels, size: tuple[int, ...]) -> Labels:
    """Each pixel (R, C) gets the cluster of the patch (h, w) that its centre lies in."""
    rows, columns = (
        ((np.arange(pixels) + 0.5) * patches / pixels).astype(int)
        for pixels, patches in zip(size, clusters.shape, strict=True)
    )
    return clusters[rows[:, None], columns]


def _groups(labelled: LabelledTask, features: FeaturesOf, part: Part, settings: Clusters) -> list[Group]:
    slices = _shown(labelled, features, part)
    if settings.scope == "image":
        return [Group([one], [one]) for one in slices]
    if settings.scope == "pooled":
        return [Group(slices, slices)]
    return [Group(_shown(labelled, features, "pool"), slices)]


def _shown(labelled: LabelledTask, features: FeaturesOf, part: Part) -> list[Shown]:
    """The slices of a part that show a class.

    Raises:
        UserError: there are none.
    """
    found = []
    for volume in labelled.of(part):
        grids = features(volume.case)
        for index in np.flatnonzero(volume.mask.any((1, 2))):
            key = SliceKey(volume.case, int(index))
            found.append(Shown(key, volume.patient, grids[index], volume.mask[index]))
    if not found:
        raise UserError(
            f"no slice of part {part} of {labelled.task.name} shows a class", "choose another split"
        )
    return found


def _possible(groups: Sequence[Group], settings: Clusters) -> list[int]:
    """The numbers of clusters for which each group has patches enough."""
    sizes = [sum(one.features[..., 0].size for one in group.taught) for group in groups]
    patches = min(settings.sample, *sizes)
    counts = [count for count in settings.counts if count <= patches]
    if not counts:
        raise UserError(f"there are only {patches} patches", "use a larger image size or fewer clusters")
    return counts


def _segmented(
    group: Group, count: int, classes: int, settings: Clusters, seed: np.random.SeedSequence, device: str
) -> Iterator[Segmented]:
    """The judged slices of a group."""
    cluster = _clustering(group.taught, count, settings, np.random.default_rng(seed), device)
    taught = [enlarged(cluster(one.features), one.mask.shape) for one in group.taught]
    names = majority(taught, [one.mask for one in group.taught], count, classes)
    for one in group.judged:
        yield Segmented(one, enlarged(cluster(one.features), one.mask.shape), names)


def _clustering(
    slices: Sequence[Shown], count: int, settings: Clusters, rng: np.random.Generator, device: str
) -> Callable[[Array], Labels]:
    """K-means of the patches of some slices: from patch features (h, w, C) to their clusters (h, w)."""
    patches = np.concatenate([one.features.reshape(-1, one.features.shape[-1]) for one in slices])
    if len(patches) > settings.sample:
        patches = patches[np.sort(rng.choice(len(patches), settings.sample, replace=False))]
    scale = Scaling.of(patches).apply if settings.standardize else np.asarray
    points, seed = scale(patches).astype(np.float32), int(rng.integers(2**32))
    assign = clustering(points, count, settings.starts, seed, device)

    def cluster(grid: Array) -> Labels:
        flat = scale(grid.reshape(-1, grid.shape[-1])).astype(np.float32)
        return assign(flat).reshape(grid.shape[:2])

    return cluster


def _scores(one: Segmented, classes: Sequence[str], settings: Clusters) -> list[tuple[str, str, float]]:
    """(label, metric, value) of each class that the slice shows, and of their mean."""
    shown = [int(label) for label in np.unique(one.slice.mask) if label]
    truth = {label: one.slice.mask == label for label in shown}
    called = one.names[one.clusters]
    scores = {MAJORITY: [dice(called == label, truth[label]) for label in shown]}
    if settings.scope != "transferred" and (settings.objects == "each" or len(shown) == 1):
        scores[BEST] = [best_cluster_dice(one.clusters, truth[label]) for label in shown]
    labels = [*(classes[label - 1] for label in shown), MEAN]
    return [
        (label, metric, value)
        for metric, values in scores.items()
        for label, value in zip(labels, [*values, float(np.mean(values))], strict=True)
    ]
