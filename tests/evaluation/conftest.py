"""A small world with known structure, for the tests of evaluation."""

import numpy as np
import pytest


def _world(rng, patients=12, each=10, classes=3, signal=3.0):
    """Features with a class direction; labels belong to patients."""
    owner = np.repeat(np.arange(patients), each)
    labels = np.array([f"c{p % classes}" for p in owner])
    features = rng.normal(size=(len(owner), 8)).astype(np.float32)
    for k in range(classes):
        features[labels == f"c{k}", k] += signal
    return features, labels, np.array([f"p{p}" for p in owner])


@pytest.fixture
def world():
    return _world
