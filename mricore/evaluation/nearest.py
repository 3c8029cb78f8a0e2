"""Nearest neighbours: whether the category of a slice is that of the slices most like it (DINO's protocol).

Nothing is learned and nothing chosen: weighted k-NN on frozen features (``mricore.evaluation.knn``, arXiv
2104.14294), whose neighbours never come from the slice's own patient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mricore.config.probes import NearestNeighbours
from mricore.errors import UserError
from mricore.evaluation.knn import knn_predictions
from mricore.evaluation.linear_probe import Probed, judgeable, rows_of
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.protocol import UNKNOWN

PROTOCOL = "knn"
MODE = "strict"


def run(
    encoder: str, task: str, slices: Probed, judged: NDArray[np.bool_], settings: NearestNeighbours
) -> list[Measurement]:
    """Accuracy of each slice that is ``judged`` (n,), and what it was taken for ("called X", by true class).

    All slices of known category are neighbours. A category of one patient alone can never be found in
    another: its slices are not judged, but stay among the neighbours, where they can mislead.

    Raises:
        UserError: fewer than two categories have two patients, or no slice is to be judged.
    """
    known = slices.labels != UNKNOWN
    shared = np.unique(judgeable(slices, 2).labels)
    bank, asked = slices.only(known), (judged & np.isin(slices.labels, shared))[known]
    if not asked.any():
        raise UserError(
            f"{task}: nobody who is judged has a category that another patient has",
            "give more patients, or another category",
        )
    called = knn_predictions(
        *(bank.features, bank.labels, bank.patients, settings.neighbours, settings.temperature, asked)
    )
    return rows_of((PROTOCOL, task, MODE, encoder, 0), bank.only(asked), called, np.unique(bank.labels))
