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
    asked: NDArray[np.bool_] | None = None,
) -> NDArray[np.str_]:
    """The label that the nearest neighbours of each slice vote for; only of those that are ``asked`` (n,).

    ``features`` (n, C) are compared by cosine; a neighbour votes with exp(cosine / temperature);
    neighbours never come from the slice's own patient, as slices of one patient look alike.

    Raises:
        ValueError: a feature is not finite, or there is only one patient.
    """
    owners = np.unique(patients)
    if len(owners) < 2:
        raise ValueError("k-NN that leaves the patient out needs two patients")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    unit = _unit(features)
    wanted = np.ones(len(labels), bool) if asked is None else asked
    classes, codes = np.unique(labels, return_inverse=True)
    predicted = np.empty(len(labels), np.int64)
    for patient in np.unique(patients[wanted]):
        own = np.flatnonzero((patients == patient) & wanted)
        others = np.flatnonzero(patients != patient)
        cosines = unit[own] @ unit[others].T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
        weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / temperature)
        votes = np.zeros((len(own), len(classes)))
        np.add.at(votes, (np.arange(len(own))[:, None], codes[others][nearest]), weights)
        predicted[own] = votes.argmax(1)
    return classes[predicted[wanted]]


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features / np.linalg.norm(features, axis=-1, keepdims=True).clip(1e-12)
