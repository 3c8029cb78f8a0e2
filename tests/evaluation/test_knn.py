"""k-NN against a slow vote, and what it must not use."""

import math

import numpy as np
import pytest

from mricore.evaluation.knn import knn_predictions


def slow_vote(features, labels, patients, index, neighbours, temperature):
    """Plain Python, in double precision."""
    ranked = []
    for other in range(len(labels)):
        if patients[other] != patients[index]:
            a, b = features[index].astype(float), features[other].astype(float)
            ranked.append((float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)), labels[other]))
    votes = {}
    for cosine, label in sorted(ranked, reverse=True)[:neighbours]:
        votes[label] = votes.get(label, 0) + math.exp(cosine / temperature)
    return max(votes, key=votes.get)


@pytest.mark.numerics
@pytest.mark.parametrize(("neighbours", "temperature"), [(1, 0.07), (5, 0.1), (10, 0.07), (500, 1.0)])
def test_equals_a_slow_vote(world, neighbours, temperature):
    rng = np.random.default_rng(0)
    features, labels, patients = world(rng, signal=1.0)
    order = rng.permutation(len(labels))  # patients need not come in blocks
    features, labels, patients = features[order], labels[order], patients[order]
    got = knn_predictions(features, labels, patients, neighbours, temperature)
    wanted = [
        slow_vote(features, labels, patients, index, neighbours, temperature) for index in range(len(labels))
    ]
    assert got.tolist() == wanted
    assert len(set(wanted)) == 3  # no vote is trivial


def test_slices_of_the_own_patient_never_help():
    """Features name the patient and nothing else: leaking would give 1, guessing about a third."""
    rng = np.random.default_rng(1)
    patients = np.repeat([f"p{n}" for n in range(30)], 8)
    labels = np.repeat(rng.permutation(np.arange(30) % 3), 8).astype(str)
    features = np.repeat(rng.normal(size=(30, 8)), 8, axis=0).astype(np.float32)
    assert (knn_predictions(features, labels, patients) == labels).mean() < 0.6
    strangers = np.arange(len(labels)).astype(str)  # without patients the leak would be complete
    assert (knn_predictions(features, labels, strangers, 5) == labels).all()


def test_length_of_features_does_not_matter(world):
    rng = np.random.default_rng(2)
    features, labels, patients = world(rng, signal=1.0)
    scaled = features * rng.uniform(0.01, 100, (len(labels), 1)).astype(np.float32)
    assert knn_predictions(scaled, labels, patients).tolist() == (
        knn_predictions(features, labels, patients).tolist()
    )


def test_broken_features_and_a_single_patient_are_refused(world):
    features, labels, patients = world(np.random.default_rng(3))
    with pytest.raises(ValueError, match="two patients"):
        knn_predictions(features, labels, np.full(len(labels), "p"))
    features[7, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        knn_predictions(features, labels, patients)
