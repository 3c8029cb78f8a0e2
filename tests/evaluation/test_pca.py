"""Feature pictures show structure where there is some, and none where there is none."""

import numpy as np
import pytest

from mricore.evaluation.pca import pca_pictures


def planted(rng, shape=(2, 9, 10)):
    """Three components of known strength, hidden in ten dimensions."""
    hidden = rng.random((*shape, 3)) * [4, 2, 1]
    basis = np.linalg.qr(rng.normal(size=(10, 3)))[0].T
    return hidden, (hidden @ basis + 3).astype(np.float32)


def test_pictures_show_planted_components_on_a_black_background():
    rng = np.random.default_rng(6)
    hidden, dense = planted(rng)
    foreground = rng.random((2, 9, 10)) < 0.8
    dense[~foreground] = 1e3  # must not matter
    pictures = pca_pictures(dense, foreground)
    assert pictures.shape == (2, 9, 10, 3)
    assert pictures.min() == 0
    assert pictures.max() == 1
    assert (pictures[~foreground] == 0).all()
    for k in range(3):
        assert abs(np.corrcoef(pictures[foreground][:, k], hidden[foreground][:, k])[0, 1]) > 0.9


@pytest.mark.numerics
def test_equals_the_eigenvectors_of_the_covariance_up_to_sign():
    _, dense = planted(np.random.default_rng(7))
    pictures = pca_pictures(dense, np.ones((2, 9, 10), bool)).reshape(-1, 3)
    patches = dense.reshape(-1, 10).astype(float)
    _, directions = np.linalg.eigh(np.cov(patches.T))  # ascending
    scores = patches @ directions[:, :-4:-1]
    low, high = np.percentile(scores, (2, 98), axis=0)
    wanted = np.clip((scores - low) / (high - low), 0, 1)
    for k in range(3):
        same = np.allclose(pictures[:, k], wanted[:, k], atol=1e-6)
        assert same or np.allclose(pictures[:, k], 1 - wanted[:, k], atol=1e-6)


def test_colours_do_not_depend_on_the_sign_that_a_solver_happens_to_choose():
    _, dense = planted(np.random.default_rng(8))
    foreground = np.ones((2, 9, 10), bool)
    pictures = pca_pictures(dense, foreground)
    np.testing.assert_array_equal(pictures, pca_pictures(dense.copy(), foreground))
    reordered = pca_pictures(dense[::-1], foreground)[::-1]
    np.testing.assert_allclose(pictures, reordered, atol=1e-6)


def test_a_collapsed_encoder_looks_flat_and_not_like_noise():
    rng = np.random.default_rng(9)
    one = rng.normal(size=16).astype(np.float32)
    dense = np.broadcast_to(one, (2, 6, 6, 16)) * (1 + 1e-7 * rng.normal(size=(2, 6, 6, 1)))
    pictures = pca_pictures(dense.astype(np.float32), np.ones((2, 6, 6), bool))
    assert (pictures == 0.5).all()


def test_without_foreground_everything_is_black():
    _, dense = planted(np.random.default_rng(10))
    assert (pca_pictures(dense, np.zeros((2, 9, 10), bool)) == 0).all()
