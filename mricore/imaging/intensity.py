"""Intensities: statistics at curation, normalisation at load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mricore.records import Intensity, Pixels, SliceRecord

Scaled = tuple[Pixels, float, float]
"""Stored integers with slope and intercept: real intensity = slope * integer + intercept."""
PERCENTILES = (0.5, 99.5)


def measure(pixels: Pixels, slope: float, intercept: float) -> Intensity:
    """Statistics of one slice in real intensities."""
    return measure_volume([(pixels, slope, intercept)])


def measure_volume(slices: Sequence[Scaled]) -> Intensity:
    """Exact statistics over all pixels of a volume in real intensities."""
    real = np.concatenate(
        [(pixels.astype(np.float64) * slope + intercept).ravel() for pixels, slope, intercept in slices]
    )
    low, high = np.percentile(real, PERCENTILES)
    return Intensity(float(real.min()), float(real.max()), float(low), float(high))


def is_empty(intensity: Intensity) -> bool:
    """Whether there is no contrast at all."""
    return not intensity.maximum > intensity.minimum


def normalize(record: SliceRecord, mode: Literal["slice", "volume", "percentile"]) -> NDArray[np.float32]:
    """A slice as (rows, columns) in [0, 1]: min-max of the slice (paper section 2.1.1), of its volume, or
    from the 0.5th to the 99.5th percentile of the slice with the rest cut off; no contrast gives zeros.
    """
    if mode == "slice":
        low, high = record.slice_intensity.minimum, record.slice_intensity.maximum
    elif mode == "volume":
        low, high = record.volume_intensity.minimum, record.volume_intensity.maximum
    else:
        low, high = record.slice_intensity.p0_5, record.slice_intensity.p99_5
    if not high > low:
        return np.zeros(record.pixels.shape, np.float32)
    real = record.pixels.astype(np.float64) * record.slope + record.intercept
    return np.clip((real - low) / (high - low), 0.0, 1.0).astype(np.float32)
