"""A labelled volume, and slices of it, as the protocols take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Spacing = tuple[float, float, float]
"""Millimetres from slice to slice, from row to row, from column to column."""


@dataclass(frozen=True)
class LabelledVolume:
    """A volume with its mask, both (slices, rows, columns).

    ``image`` holds real intensities; ``mask`` holds 0 for background and 1..C for the classes of the task, in
    its order. ``case`` and ``patient`` are numbered names that tell nothing of the files behind them.
    ``categories`` are what a whole slice or volume belongs to (institution, sequence), by name.
    """

    case: str
    patient: str
    image: NDArray[Any]
    mask: NDArray[np.uint8]
    spacing: Spacing
    categories: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class SliceKey:
    """A slice of a task: case and index in its volume."""

    case: str
    index: int
