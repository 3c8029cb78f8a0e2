"""Intensities: statistics at curation, normalisation at load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.config.schema import Normalization
from mricore.records import Intensity, Pixels, SliceRecord

Scaled = tuple[Pixels, float, float]
"""Stored integers with slope and intercept: real intensity = slope * integer + intercept."""
LOW_FRACTION = 0.005
"""The percentiles are the 0.5th and the 99.5th."""


def measure(pixels: Pixels, slope: float, intercept: float) -> Intensity:
    """Statistics of one slice in real intensities."""
    return measure_volume([(pixels, slope, intercept)])


def measure_volume(slices: Sequence[Scaled]) -> Intensity:
    """Exact statistics over all pixels of a volume in real intensities.

    Percentiles interpolate linearly between order statistics, as numpy's do. Slices with one scale, the
    usual case, are sorted as 16-bit integers, in a quarter of the memory.
    """
    scales = {(slope, intercept) for _, slope, intercept in slices}
    if len(scales) > 1:
        return _statistics(np.concatenate([(p.astype(np.float64) * a + b).ravel() for p, a, b in slices]))
    slope, intercept = scales.pop()
    stored = _statistics(np.concatenate([pixels.ravel() for pixels, _, _ in slices]))
    low, high, low_percentile, high_percentile = (
        slope * value + intercept for value in (stored.minimum, stored.maximum, stored.p0_5, stored.p99_5)
    )
    if slope < 0:
        return Intensity(high, low, high_percentile, low_percentile)
    return Intensity(low, high, low_percentile, high_percentile)


def is_empty(intensity: Intensity) -> bool:
    """Whether there is no contrast at all."""
    return not intensity.maximum > intensity.minimum


def normalize(record: SliceRecord, mode: Normalization) -> NDArray[np.float32]:
    """A slice as (rows, columns) in [0, 1]: min-max of the slice (paper section 2.1.1), of its volume, or
    from the 0.5th to the 99.5th percentile of the slice with the rest cut off; no contrast gives zeros.
    """
    low, high = _limits(record, mode)
    if not high > low:
        return np.zeros(record.pixels.shape, np.float32)
    # The limits go back to stored integers, so that float32 subtracts exactly however large the offset.
    start = np.float32((low - record.intercept) / record.slope)
    width = np.float32((high - low) / record.slope)
    return np.clip((record.pixels.astype(np.float32) - start) / width, np.float32(0), np.float32(1))


def _limits(record: SliceRecord, mode: Normalization) -> tuple[float, float]:
    """The real intensities that become 0 and 1."""
    if mode == "slice":
        return record.slice_intensity.minimum, record.slice_intensity.maximum
    if mode == "volume":
        return record.volume_intensity.minimum, record.volume_intensity.maximum
    return record.slice_intensity.p0_5, record.slice_intensity.p99_5


def _statistics(values: NDArray[Any]) -> Intensity:
    """Statistics of a flat array, which is reordered."""
    last = values.size - 1
    low, high = LOW_FRACTION * last, (1 - LOW_FRACTION) * last
    ranks = [math.floor(low), math.ceil(low), math.floor(high), math.ceil(high)]
    values.partition(sorted({0, *ranks, last}))
    a, b, c, d = (float(values[rank]) for rank in ranks)
    return Intensity(
        minimum=float(values[0]),
        maximum=float(values[last]),
        p0_5=a + (b - a) * (low - ranks[0]),
        p99_5=c + (d - c) * (high - ranks[2]),
    )
