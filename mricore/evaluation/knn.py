"""Weighted k-NN on frozen features (protocol of DINO, arXiv 2104.14294), leaving the patient out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
TEMPERATURE = 0.07


def knn_predictions(
    features: NDArray[np.float32],
    labels: NDArray[np.str_],
    patients: NDArray[np.str_],
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> NDArray[np.str_]:
    """The label (n,) that each slice's nearest neighbours vote for.

    ``features`` (n, C) are compared by cosine; a neighbour votes with exp(cosine / temperature);
    neighbours never come from the slice's own patient, as slices of one patient look alike.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    classes, codes = np.unique(labels, return_inverse=True)
    predicted = np.empty(len(labels), np.int64)
    for index in range(len(labels)):
        others = np.flatnonzero(patients != patients[index])
        cosines = unit[others] @ unit[index]
        nearest = np.argsort(-cosines, kind="stable")[:neighbours]
        votes = np.bincount(codes[others[nearest]], np.exp(cosines[nearest] / temperature), len(classes))
        predicted[index] = votes.argmax()
    return classes[predicted]
