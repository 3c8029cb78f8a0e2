"""Logistic regression against scikit-learn's, and what soft labels mean."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mricore.evaluation.logistic import Scaling, fitted, one_hot


def clouds(rng, count=120, classes=3, channels=7):
    codes = rng.integers(0, classes, count)
    features = rng.normal(size=(count, channels)) * rng.uniform(0.1, 30, channels) + 5
    features[:, 0] += 20 * codes
    return features, codes


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
