"""Slices with the categories that curation found, as the protocols take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mricore.config.schema import Normalization
from mricore.evaluation.protocol import LabelledSlices
from mricore.imaging.intensity import normalize
from mricore.records import SliceRecord

TASKS = ("location", "sequence", "plane", "vendor")


def labelled(samples: Sequence[SliceRecord], mode: Normalization) -> LabelledSlices:
    """Stored slices, scaled as in training, with patient and categories of each."""
    return LabelledSlices(
        images=[normalize(record, mode) for record in samples],
        patients=patients_of(samples),
        categories={task: category_of(samples, task) for task in TASKS},
    )


def patients_of(samples: Sequence[SliceRecord]) -> NDArray[np.str_]:
    """The pseudonym of each slice's patient (n,)."""
    return np.array([record.patient_id for record in samples])


def category_of(samples: Sequence[SliceRecord], task: str) -> NDArray[np.str_]:
    """What curation found of each slice (n,); ``task`` is one of ``TASKS``."""
    return np.array([getattr(record, task) for record in samples])
