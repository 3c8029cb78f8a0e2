"""K-means by torch against scikit-learn's, from the same seeds."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from mricore.evaluation import kmeans
from mricore.evaluation.kmeans import best_of, by_torch, clustering, first_centres, lloyd

SIZES = [(60, 2, 3, 1), (500, 5, 8, 1), (800, 24, 4, 3), (1500, 16, 32, 1)]
"""Points, channels, clusters, starts."""


def blobs(count, channels, clusters, seed, spread=0.6):
    """Overlapping clouds far from the origin, channels of unlike scales."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(clusters, channels))[rng.integers(0, clusters, count)]
    scales = rng.uniform(0.2, 5, channels)
    return ((places + rng.normal(0, spread, places.shape)) * scales + 7).astype(np.float32)


def by_scikit_learn(points, clusters, starts, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(clusters, n_init=starts, random_state=seed).fit(points)


def partition(labels):
    """Numbers of clusters by first occurrence, so that names of clusters do not count."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].tolist()


@pytest.mark.numerics
@pytest.mark.parametrize(("count", "channels", "clusters", "starts"), SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_labels_centres_and_inertia_are_those_of_scikit_learn(count, channels, clusters, starts, seed):
    points = blobs(count, channels, clusters, seed % 97)
    theirs = by_scikit_learn(points, clusters, starts, seed)
    found = best_of(points, clusters, starts, seed, "cpu")
    assert found.labels.tolist() == theirs.labels_.tolist()
    assert found.inertia == pytest.approx(theirs.inertia_, rel=1e-5)
    centres = found.centres.numpy() + points.mean(0)
    np.testing.assert_allclose(centres, theirs.cluster_centers_, rtol=1e-4, atol=1e-4)
    asked = blobs(200, channels, clusters, 5)
    assert (by_torch(points, clusters, starts, seed, "cpu")(asked) == theirs.predict(asked)).all()


@pytest.mark.numerics
@pytest.mark.parametrize(("count", "channels", "clusters"), [(60, 2, 3), (700, 24, 20), (3000, 5, 60)])
@pytest.mark.parametrize("seed", range(5))
def test_first_centres_are_those_that_scikit_learn_draws(count, channels, clusters, seed):
    points = blobs(count, channels, 7, seed)
    points -= points.mean(0)
    states = [np.random.RandomState(seed) for _ in range(2)]
    for _ in range(2):  # the second start goes on with the same random numbers
        _, theirs = kmeans_plusplus(points, clusters, random_state=states[0])
        assert first_centres(torch.tensor(points), clusters, states[1]) == theirs.tolist()


@pytest.mark.numerics
@pytest.mark.parametrize("seed", range(4))
def test_without_structure_a_point_in_thousand_at_most_falls_to_the_other_side(seed):
    points = np.random.default_rng(seed).normal(size=(2000, 12)).astype(np.float32)
    theirs = by_scikit_learn(points, 16, 1, seed)
    found = best_of(points, 16, 1, seed, "cpu")
    assert (found.labels.numpy() != theirs.labels_).sum() <= 2
    assert found.inertia == pytest.approx(theirs.inertia_, rel=1e-4)


@pytest.mark.numerics
@pytest.mark.parametrize("seed", range(4))
def test_fewer_different_points_than_clusters_leave_some_empty(seed):
    points = np.repeat(np.float32([[0, 0], [1, 0], [0, 3], [8, 8], [8, 9]]), 7, axis=0)
    theirs = by_scikit_learn(points, 8, 1, seed)
    found = best_of(points, 8, 1, seed, "cpu")
    assert partition(found.labels.numpy()) == partition(theirs.labels_)
    assert len(set(found.labels.tolist())) == 5
    assert found.inertia == pytest.approx(theirs.inertia_, abs=1e-5)
    assert torch.isfinite(found.centres).all()


@pytest.mark.numerics
def test_an_empty_cluster_takes_the_points_that_are_farthest_from_their_centres():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(300, 3)).astype(np.float32)
    points[:2] = [[30, 0, 0], [0, -40, 0]]
    points -= points.mean(0)
    first = np.concatenate([points[5:8], np.full((2, 3), 1e3)]).astype(np.float32)  # two that get no point
    theirs = KMeans(5, init=first, n_init=1, random_state=0).fit(points)
    found = lloyd(torch.tensor(points), torch.tensor(first), 1e-4 * points.var(0).mean())
    assert partition(found.labels.numpy()) == partition(theirs.labels_)
    assert found.inertia == pytest.approx(theirs.inertia_, rel=1e-5)
    assert len({*found.labels[:2].tolist()}) == 2
    assert np.bincount(found.labels.numpy(), minlength=5).min() > 0


@pytest.mark.numerics
@pytest.mark.parametrize("tolerance", [0.01, 0.1])
def test_iterations_end_where_those_of_scikit_learn_end(tolerance, monkeypatch):
    points = np.random.default_rng(5).uniform(size=(3000, 3)).astype(np.float32) * np.float32([1, 3, 9])
    first, theirs = (KMeans(12, n_init=1, random_state=0, tol=one).fit(points) for one in (0.0, tolerance))
    monkeypatch.setattr(kmeans, "TOLERANCE", tolerance)
    found = best_of(points, 12, 1, 0, "cpu").labels.numpy()
    assert (found == theirs.labels_).mean() > 0.999
    assert (found == first.labels_).mean() < 0.99  # those that go on to the end


@pytest.mark.numerics
def test_iterations_that_do_not_converge_end_at_last(monkeypatch):
    points = np.random.default_rng(6).uniform(size=(2000, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = KMeans(12, n_init=1, random_state=0, max_iter=4).fit(points)
    monkeypatch.setattr(kmeans, "ITERATIONS", 4)
    assert (best_of(points, 12, 1, 0, "cpu").labels.numpy() == theirs.labels_).mean() > 0.999


def test_each_point_belongs_to_the_nearest_of_the_centres_that_are_returned():
    points = blobs(400, 6, 5, 1)
    found = best_of(points, 5, 1, 0, "cpu")
    centred = points - points.mean(0)
    distances = ((centred[:, None].astype(float) - found.centres.numpy()) ** 2).sum(-1)
    assert (found.labels.numpy() == distances.argmin(1)).all()
    assert found.inertia == pytest.approx(distances.min(1).sum(), rel=1e-5)


def test_of_several_starts_the_one_of_least_inertia_is_kept():
    points = blobs(300, 2, 12, 2, spread=0.05)
    alone = [best_of(points, 12, starts, 4, "cpu").inertia for starts in range(1, 7)]
    assert alone == sorted(alone, reverse=True)
    assert alone[-1] < alone[0]


def test_points_that_may_not_be_written_stay_as_they_are():
    points = blobs(50, 3, 2, 0)
    before = points.copy()
    points.setflags(write=False)
    assert by_torch(points, 2, 1, 0, "cpu")(points).shape == (50,)
    assert (points == before).all()


@pytest.mark.gpu
@pytest.mark.parametrize(("count", "channels", "clusters", "starts"), [*SIZES, (4096, 768, 64, 1)])
def test_a_gpu_finds_the_clusters_of_the_cpu_each_time(count, channels, clusters, starts):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    points = blobs(count, channels, clusters, 0)
    asked = blobs(300, channels, clusters, 1)
    cpu, gpu, again = (clustering(points, clusters, starts, 7, one) for one in ("cpu", "cuda", "cuda"))
    assert (gpu(points) == again(points)).all()
    for some in (points, asked):
        assert (cpu(some) != gpu(some)).mean() <= 0.002
    theirs = by_scikit_learn(points, clusters, starts, 7).inertia_
    assert best_of(points, clusters, starts, 7, "cuda").inertia == pytest.approx(theirs, rel=1e-4)
