"""K-means: scikit-learn's on a CPU, and on a GPU the same in torch.

Both draw the same first centres by greedy k-means++ and stop by the same rule, so that a device changes
results by the rounding of sums alone; a point between two clusters can then fall to the other side. Sums on a
GPU are products with memberships, not scattered additions, whose order would change from run to run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

ITERATIONS = 300
TOLERANCE = 1e-4
"""Relative to the mean variance of the channels: squared shift of all centres at which iterations end."""
Points = NDArray[np.float32]
Assign = Callable[[Points], NDArray[np.int64]]
"""Points (n, C) -> the cluster of each (n,)."""


@dataclass(frozen=True)
class Found:
    """Centres (k, C), the cluster of each point (n,), and the sum of squared distances to their centres."""

    centres: Tensor
    labels: Tensor
    inertia: float


def clustering(points: Points, count: int, starts: int, seed: int, device: str = "cpu") -> Assign:
    """The best of some starts on points (n, C), at least ``count`` of them; clusters may stay empty.

    Clusters are empty where fewer points than ``count`` differ.
    """
    return (_by_sklearn if device == "cpu" else by_torch)(points, count, starts, seed, device)


def by_torch(points: Points, count: int, starts: int, seed: int, device: str) -> Assign:
    """Like ``clustering``, by torch whatever the device."""
    mean = torch.tensor(points.mean(0), device=device)
    found = best_of(points, count, starts, seed, device)
    return lambda asked: nearest(torch.tensor(asked, device=device) - mean, found.centres).cpu().numpy()


def best_of(points: Points, count: int, starts: int, seed: int, device: str) -> Found:
    """The start of least inertia, first of equals; centres are those of points less their mean."""
    centred = points - points.mean(0)
    moved, state = torch.tensor(centred, device=device), np.random.RandomState(seed)
    tolerance = TOLERANCE * float(points.var(0).mean())
    found = []
    for _ in range(starts):
        found.append(lloyd(moved, moved[first_centres(moved, count, state)], tolerance))
    return min(found, key=lambda one: one.inertia)


def first_centres(points: Tensor, count: int, state: np.random.RandomState) -> list[int]:
    """The numbers of the points (n, C) that scikit-learn's greedy k-means++ takes as first centres.

    Of a few points, drawn by their squared distance from the centres so far, the one is taken that leaves
    least inertia. Distances are computed on the device in double precision, and all that is drawn on
    the host in single precision in scikit-learn's own order: the draws hang on its rounding.
    """
    double, ones = points.double(), np.ones(len(points), np.float32)
    norms = double.square().sum(1)

    def distances(asked: list[int]) -> Points:
        some = double[asked]
        squared = torch.addmm(norms, some, double.T, alpha=-2) + some.square().sum(1, keepdim=True)
        return squared.float().clamp(min=0).cpu().numpy()

    chosen = [int(state.choice(len(points), p=ones / ones.sum()))]
    (closest,) = distances(chosen)
    potential = closest @ ones
    for _ in range(1, count):
        drawn = state.uniform(size=2 + int(np.log(count))) * potential
        tried = np.searchsorted(np.cumsum(closest), drawn).clip(max=len(points) - 1).tolist()
        left = np.minimum(closest, distances(tried))
        potentials = left @ ones
        best = int(potentials.argmin())
        chosen.append(tried[best])
        closest, potential = left[best], potentials[best]
    return chosen


def lloyd(points: Tensor, centres: Tensor, tolerance: float) -> Found:
    """Lloyd's iterations on points (n, C) from first centres (k, C).

    They end where no point changes its cluster, or centres shift by no more than ``tolerance`` (squared, in
    all), or after ``ITERATIONS``; points then belong to the centres that are returned.
    """
    labels = torch.full((len(points),), -1, device=points.device)
    for _ in range(ITERATIONS):
        before, labels = labels, nearest(points, centres)
        moved = _moved(points, centres, labels)
        shift = float((moved - centres).square().sum())
        centres = moved
        if torch.equal(labels, before):
            break
        if shift <= tolerance:
            labels = nearest(points, centres)
            break
    else:
        labels = nearest(points, centres)
    return Found(centres, labels, float((points - centres[labels]).square().sum(dtype=torch.float64)))


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The number (n,) of the centre (k, C) that each point (n, C) is nearest to, first of equals."""
    return torch.addmm(centres.square().sum(1), points, centres.T, alpha=-2).argmin(1)


def _moved(points: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """The mean (k, C) of each cluster's points; empty ones get the points farthest from their centres.

    One that loses its only point so goes to the centre of the largest cluster. As scikit-learn does.
    """
    members = F.one_hot(labels, len(centres)).to(points.dtype)
    sums, counts = members.T @ points, members.sum(0)
    empty = torch.nonzero(counts == 0)[:, 0].tolist()
    if empty:
        distances = (points - centres[labels]).square().sum(1)
        farthest = distances.sort(descending=True, stable=True).indices[: len(empty)]
        for cluster, point in zip(empty, farthest.tolist(), strict=True):
            sums[labels[point]] -= points[point]
            counts[labels[point]] -= 1
            sums[cluster], counts[cluster] = points[point], 1
    means = sums / counts.clamp(min=1)[:, None]
    return torch.where(counts[:, None] > 0, means, means[counts.argmax()])


def _by_sklearn(points: Points, count: int, starts: int, seed: int, device: str) -> Assign:
    means = KMeans(count, n_init=starts, random_state=seed, max_iter=ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings():  # fewer different points than clusters, e.g. of pixels: some stay empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(points)
    return lambda asked: means.predict(asked).astype(np.int64)
