"""What a worker trains on in one step: numpy alone, so that a step runs where there is no reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mricore.data.plan import Indices
from mricore.records import Pixels

Image = NDArray[np.uint16]
"""A slice (rows, columns) as it is stored."""
Levels = tuple[float, float]
"""Normalisation of a slice: the integer that becomes 0, and how far above it the one that becomes 1 lies."""
FULL: Levels = (0.0, 65535.0)
"""Of integers that use all 16 bits."""
_HALF = 2**15


@dataclass(frozen=True)
class Slices:
    """Decoded slices in feeding order: images, the levels and the pseudonymous id of each."""

    images: list[Image]
    levels: list[Levels]
    ids: list[str]

    def __getitem__(self, some: slice) -> Slices:
        """Some of them."""
        return Slices(self.images[some], self.levels[some], self.ids[some])

    def add(self, others: Slices) -> None:
        """Others behind these."""
        self.images.extend(others.images)
        self.levels.extend(others.levels)
        self.ids.extend(others.ids)

    def in_order(self, order: Sequence[int]) -> Slices:
        """The same, ``order[0]`` first."""
        images, levels, ids = self.images, self.levels, self.ids
        return Slices([images[i] for i in order], [levels[i] for i in order], [ids[i] for i in order])


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


def unsigned(pixels: Pixels, levels: Levels) -> tuple[Image, Levels]:
    """A slice in the type that all of a batch have: signed integers, and their levels, move up by 2^15."""
    if pixels.dtype == np.uint16:
        return pixels.view(np.uint16), levels
    zero, span = levels
    return pixels.view(np.uint16) ^ np.uint16(_HALF), (zero + _HALF, span)
