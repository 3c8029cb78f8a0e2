"""What a worker trains on in one step: numpy alone, so that a step runs where there is no reader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mricore.data.plan import Indices

FULL_SCALE = 65535
Image = NDArray[np.uint16]
"""A normalised slice (rows, columns): 0..65535 stands for 0..1, so rounding is at most 8e-6."""


@dataclass(frozen=True)
class Slices:
    """Decoded slices in feeding order: images, and the pseudonymous id of each."""

    images: list[Image]
    ids: list[str]


@dataclass(frozen=True)
class Batch:
    """One worker's part of a global batch.

    ``positions`` (b,) are the places of these slices in the global batch of ``global_size`` slices, and
    ``counts`` (workers,) the part of each worker; both follow from the plan alone.
    """

    epoch: int
    step: int
    slices: Slices
    positions: Indices
    global_size: int
    counts: tuple[int, ...]
