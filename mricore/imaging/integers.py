"""Real intensities -> stored integers of 16 bits with a scale: exactly where they came from integers.

Files other than DICOM hold integers of any size, integers with a scale, or decimal numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mricore.records import Pixels

_RANGE = 2**16
_LARGEST_WHOLE = 2.0**53
"""Up to here each whole number is a float64."""


@dataclass(frozen=True, repr=False)
class Scaled:
    """real = slope * pixels + intercept, with a positive slope; ``is_exact`` if no value was rounded."""

    pixels: Pixels
    slope: float
    intercept: float
    is_exact: bool


def to_integers(values: NDArray[Any], slope: float = 1.0, intercept: float = 0.0) -> Scaled:
    """An array of finite numbers, of any shape, as 16-bit integers.

    Integers, and decimal numbers that are all whole, stay what they are (int16 or uint16), or are counted
    from their smallest where they span less than 2^16 further away. Values that are ``slope`` * integer +
    ``intercept``, the scale of a file, become these integers. All else is rounded to the nearest of 65,536
    even steps from the smallest value to the largest, which is wrong by at most half a step.
    """
    whole = _whole(values)
    if whole is not None and (pixels := _narrow(whole)) is not None:
        return Scaled(*pixels, is_exact=True)
    if slope not in (0.0, 1.0) or intercept:
        found = _unscaled(values, slope, intercept)
        if found is not None:
            return found
    return _steps(values)


def _whole(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """The values as integers if all are whole."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64) if int(values.max()) < 2**62 else None
    if np.abs(values).max() > _LARGEST_WHOLE or not (np.rint(values) == values).all():
        return None
    return values.astype(np.int64)


def _narrow(whole: NDArray[np.int64]) -> tuple[Pixels, float, float] | None:
    """The same integers in 16 bits, with slope and intercept; None if they span too much."""
    low, high = int(whole.min()), int(whole.max())
    for kind in (np.uint16, np.int16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return cast(Pixels, whole.astype(kind)), 1.0, 0.0
    if high - low < _RANGE:
        return (whole - low).astype(np.uint16), 1.0, float(low)
    return None


def _unscaled(values: NDArray[Any], slope: float, intercept: float) -> Scaled | None:
    """The integers behind values that a file scaled, if they give these values again."""
    if not slope or not np.isfinite([slope, intercept]).all():
        return None
    with np.errstate(over="ignore"):
        steps = np.rint((values.astype(np.float64) - intercept) / slope)
    if not np.abs(steps).max() < _LARGEST_WHOLE:
        return None
    again = (steps * slope + intercept).astype(values.dtype)
    narrow = _narrow(steps.astype(np.int64) * (1 if slope > 0 else -1))
    if narrow is None or not np.array_equal(again, values):
        return None
    pixels, _, first = narrow
    return Scaled(pixels, abs(slope), intercept + abs(slope) * first, is_exact=True)


def _steps(values: NDArray[Any]) -> Scaled:
    low, high = float(values.min()), float(values.max())
    slope = (high - low) / (_RANGE - 1)
    if not slope > 0:
        return Scaled(np.zeros(values.shape, np.uint16), 1.0, low, is_exact=low == high)
    pixels = np.clip(np.rint((values.astype(np.float64) - low) / slope), 0, _RANGE - 1).astype(np.uint16)
    return Scaled(pixels, slope, low, is_exact=False)
