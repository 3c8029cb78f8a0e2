"""Slices with the categories that curation found, as the protocols take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mricore.config.schema import Normalization
from mricore.evaluation.protocol import LabelledSlices
from mricore.imaging.intensity import normalize
from mricore.records import SliceRecord

TASKS = ("location", "sequence", "plane", "vendor")


def labelled(samples: Sequence[SliceRecord], mode: Normalization) -> LabelledSlices:
    """Stored slices, scaled as in training, with patient and categories of each."""
    return LabelledSlices(
        images=[normalize(record, mode) for record in samples],
        patients=np.array([record.patient_id for record in samples]),
        categories={task: np.array([getattr(record, task) for record in samples]) for task in TASKS},
    )
