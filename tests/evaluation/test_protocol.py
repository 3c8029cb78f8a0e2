"""k-NN, intervals and pictures: against a slow reference, and with controls that must fail."""

import math

import numpy as np
import pytest

from mricore.evaluation.knn import knn_predictions
from mricore.evaluation.pca import pca_pictures
from mricore.evaluation.protocol import LabelledSlices, embed_slices, judge
from mricore.evaluation.statistics import bootstrap_mean, paired_difference


def world(rng, patients=12, each=10, classes=3, signal=3.0):
    """Features with a class direction; labels belong to patients."""
    owner = np.repeat(np.arange(patients), each)
    labels = np.array([f"c{p % classes}" for p in owner])
    features = rng.normal(size=(len(owner), 8)).astype(np.float32)
    for k in range(classes):
        features[labels == f"c{k}", k] += signal
    return features, labels, np.array([f"p{p}" for p in owner])


@pytest.mark.numerics
def test_knn_equals_a_slow_vote():
    features, labels, patients = world(np.random.default_rng(0), signal=1.0)
    got = knn_predictions(features, labels, patients, 5, 0.1)
    for i in range(len(labels)):
        ranked = []
        for j in range(len(labels)):
            if patients[j] != patients[i]:
                a, b = features[i].astype(float), features[j].astype(float)
                ranked.append((float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)), labels[j]))
        votes = {}
        for cosine, label in sorted(ranked, reverse=True)[:5]:
            votes[label] = votes.get(label, 0) + math.exp(cosine / 0.1)
        assert got[i] == max(votes, key=votes.get)


def test_slices_of_the_own_patient_never_help():
    rng = np.random.default_rng(1)
    _, labels, patients = world(rng)
    same = {patient: rng.normal(size=8) for patient in set(patients)}
    features = np.array(
        [same[patient] for patient in patients], np.float32
    )  # knows the patient, nothing else
    shuffled = rng.permutation(np.unique(labels))[rng.integers(0, 3, 12)]
    labels = np.repeat(shuffled, 10)
    assert (knn_predictions(features, labels, patients) == labels).mean() < 0.75


def test_informative_features_score_and_shuffled_labels_do_not():
    rng = np.random.default_rng(2)
    features, labels, patients = world(rng)
    noise = rng.normal(size=features.shape).astype(np.float32)
    slices = LabelledSlices([], patients, {"class": labels, "shuffled": rng.permutation(labels)})
    found, shuffled = judge(slices, features, noise, seed=0)
    assert found.after.value > 0.85
    assert found.difference.interval.low > 0.3
    assert 0 < found.difference.p < 0.01
    assert shuffled.after.low < shuffled.chance + 0.05
    assert "k-NN accuracy" in str(found)


def test_tasks_that_cannot_be_judged_say_why():
    features, labels, patients = world(np.random.default_rng(3))
    alone = np.where(patients == "p0", "rare", "common")
    scores = judge(
        LabelledSlices([], patients, {"rare": alone, "none": np.full(len(labels), "unknown")}),
        features,
        None,
        0,
    )
    assert [score.after for score in scores] == [None, None]
    assert "only one class" in str(scores[0])
    assert "no class" in str(scores[1])


def test_intervals_cover_the_truth_and_know_that_slices_are_not_independent():
    rng = np.random.default_rng(4)
    covered = 0
    for trial in range(100):
        effect = np.repeat(rng.normal(size=20), 15)
        values = effect + rng.normal(size=300) * 0.3
        patients = np.repeat(np.arange(20), 15).astype(str)
        interval = bootstrap_mean(values, patients, np.random.default_rng(trial))
        covered += interval.low <= 0 <= interval.high
    assert 84 <= covered <= 99


def test_a_paired_test_finds_a_planted_gain_and_not_noise():
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(15), 10).astype(str)
    base = rng.random(150)
    gain = paired_difference(base, base + 0.1 + rng.normal(0, 0.05, 150), patients, np.random.default_rng(0))
    noise = paired_difference(base, base + rng.normal(0, 0.05, 150), patients, np.random.default_rng(0))
    assert gain.p < 0.01
    assert gain.interval.low > 0.05
    assert noise.p > 0.05


def test_ragged_slices_keep_their_order():
    images = [np.full((4 + n % 2, 5), n, np.float32) for n in range(6)]
    got = embed_slices(lambda batch: np.asarray(batch).mean((1, 2))[:, None].astype(np.float32), images)
    np.testing.assert_array_equal(got[:, 0], np.arange(6))


def test_pictures_show_planted_components_on_a_black_background():
    rng = np.random.default_rng(6)
    planted = rng.random((2, 5, 6, 3)) * [4, 2, 1]
    basis = np.linalg.qr(rng.normal(size=(10, 3)))[0].T
    dense = (planted @ basis).astype(np.float32)
    foreground = rng.random((2, 5, 6)) < 0.8
    pictures = pca_pictures(dense, foreground)
    assert pictures.shape == (2, 5, 6, 3)
    assert (pictures[~foreground] == 0).all()
    assert abs(np.corrcoef(pictures[foreground][:, 0], planted[foreground][:, 0])[0, 1]) > 0.95
    np.testing.assert_array_equal(pictures, pca_pictures(dense, foreground))
    assert (pca_pictures(dense, np.zeros_like(foreground)) == 0).all()
