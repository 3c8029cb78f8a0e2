"""Logistic regression against scikit-learn's, and what soft labels mean."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mricore.evaluation.logistic import Problem, Scaling, fitted, one_hot, path


def clouds(rng, count=120, classes=3, channels=7):
    codes = rng.integers(0, classes, count)
    features = rng.normal(size=(count, channels)) * rng.uniform(0.1, 30, channels) + 5
    features[:, 0] += 20 * codes
    return features, codes


def by_numpy(features, targets, l2):
    """Loss and slope as a function of weights and bias, by the formula in numpy."""
    scaled = (features - features.mean(0)) / features.std(0)
    classes = targets.shape[1]

    def loss_and_slope(values):
        weights, bias = values[:-classes].reshape(-1, classes), values[-classes:]
        logs = log_softmax(scaled @ weights + bias, axis=1)
        errors = (np.exp(logs) - targets) / len(targets)
        loss = -(targets * logs).sum() / len(targets) + 0.5 * l2 * (weights**2).sum()
        return loss, np.concatenate([(scaled.T @ errors + l2 * weights).ravel(), errors.sum(0)])

    return loss_and_slope


def soft_clouds(seed, **sizes):
    """Features, and targets that are shares of several classes."""
    rng = np.random.default_rng(seed)
    features, codes = clouds(rng, **sizes)
    return features, 0.8 * one_hot(codes, 3) + 0.2 * rng.dirichlet(np.ones(3), len(codes))


@pytest.mark.numerics
@pytest.mark.parametrize("l2", [0, 1e-3, 1.0])
def test_loss_and_slope_are_the_formula_and_the_slope_is_that_of_the_loss(l2):
    features, targets = soft_clouds(5)
    problem, formula = Problem.of(features, targets), by_numpy(features, targets, l2)
    rng = np.random.default_rng(6)
    for size in (0, 0.1, 30):
        values = size * rng.normal(size=8 * 3)
        (loss, slope), (expected, their_slope) = problem.loss_and_slope(values, l2), formula(values)
        assert loss == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(slope, their_slope, rtol=1e-9, atol=1e-12)
        direction = rng.normal(size=len(values))
        ahead, behind = (problem.loss_and_slope(values + step * direction, l2)[0] for step in (1e-6, -1e-6))
        assert (ahead - behind) / 2e-6 == pytest.approx(slope @ direction, rel=1e-4, abs=1e-6)


@pytest.mark.numerics
@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_the_optimum_is_that_of_the_formula_in_numpy(l2):
    features, targets = soft_clouds(7, count=300, channels=20)
    formula = by_numpy(features, targets, l2)
    theirs = minimize(formula, np.zeros(21 * 3), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    found = fitted(features, targets, l2)
    values = np.concatenate([found.weights.ravel(), found.bias])
    assert formula(values)[0] == pytest.approx(theirs.fun, rel=1e-7)
    np.testing.assert_allclose(values, theirs.x, atol=1e-3)


def test_a_path_of_strengths_is_the_optimum_of_each_sought_from_the_one_before(monkeypatch):
    features, targets = soft_clouds(8)
    strengths, starts, optimum = (1.0, 1e-2, 1e-3), [], Problem.optimum
    monkeypatch.setattr(
        Problem, "optimum", lambda self, l2, start=None: starts.append(start) or optimum(self, l2, start)
    )
    found = path(features, targets, strengths)
    assert starts == [None, *found[:2]]
    for one, l2 in zip(found, strengths, strict=True):
        shown, alone = (found.logits(features) for found in (one, fitted(features, targets, l2)))
        np.testing.assert_allclose(shown, alone, atol=0.02)


def test_features_that_may_not_be_written_stay_as_they_are():
    features, targets = soft_clouds(9)
    before = features.copy()
    features.setflags(write=False)
    fitted(features, targets, 1e-2)
    assert (features == before).all()


@pytest.mark.gpu
@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_a_gpu_finds_the_optimum_of_the_cpu(l2):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    features, targets = soft_clouds(10, count=2000, channels=64)
    values = np.random.default_rng(11).normal(size=65 * 3)
    one, other = (
        Problem.of(features, targets, device).loss_and_slope(values, l2) for device in ("cpu", "cuda")
    )
    assert one[0] == pytest.approx(other[0], rel=1e-12)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-9, atol=1e-12)
    cpu, gpu = (path(features, targets, (1.0, l2), device)[-1].logits(features) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cpu, gpu, atol=0.02)
    assert (cpu.argmax(1) == gpu.argmax(1)).mean() > 0.999


@pytest.mark.numerics
@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_the_optimum_is_that_of_scikit_learn(l2):
    features, codes = clouds(np.random.default_rng(0))
    found = fitted(features, one_hot(codes, 3), l2)
    # its C weighs the summed loss against the penalty
    theirs = LogisticRegression(C=1 / (l2 * len(codes)), tol=1e-8, max_iter=10_000)
    scaled = StandardScaler().fit_transform(features)
    theirs.fit(scaled, codes)
    shown = found.logits(features)
    expected = theirs.decision_function(scaled)
    centred = [one - one.mean(1, keepdims=True) for one in (shown, expected)]
    np.testing.assert_allclose(centred[0], centred[1], atol=2e-3 * np.abs(centred[1]).max())
    assert (shown.argmax(1) == theirs.predict(scaled)).all()


def test_where_it_starts_does_not_change_where_it_ends():
    features, codes = clouds(np.random.default_rng(1))
    targets = one_hot(codes, 3)
    far = fitted(features, targets, 1.0)
    ends = [fitted(features, targets, 1e-2, start=start).logits(features) for start in (None, far)]
    np.testing.assert_allclose(*(end - end.mean(1, keepdims=True) for end in ends), atol=0.02)


@pytest.mark.numerics
def test_soft_labels_weigh_like_repeated_hard_ones():
    features, _ = clouds(np.random.default_rng(2), count=30, classes=2)
    shares = np.random.default_rng(3).integers(0, 5, 30)
    soft = fitted(features, np.stack([4 - shares, shares], 1) / 4, 1e-2).logits(features)
    codes = np.concatenate([[0] * (4 - share) + [1] * share for share in shares])
    hard = fitted(np.repeat(features, 4, axis=0), one_hot(codes.astype(int), 2), 1e-2).logits(features)
    np.testing.assert_allclose(soft[:, 1] - soft[:, 0], hard[:, 1] - hard[:, 0], atol=1e-2)


def test_a_channel_without_variation_is_harmless():
    features, codes = clouds(np.random.default_rng(4))
    with_constant = np.concatenate([features, np.full((len(features), 1), 3.0)], axis=1)
    targets = one_hot(codes, 3)
    np.testing.assert_allclose(
        fitted(with_constant, targets, 1e-2).logits(with_constant),
        fitted(features, targets, 1e-2).logits(features),
        atol=1e-2,
    )
    assert np.isfinite(Scaling.of(with_constant).apply(with_constant)).all()
