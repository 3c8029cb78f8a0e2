"""Intensities: exact statistics in one pass at curation, normalisation at load.

Statistics come from counts of stored integers, of which 16 bits allow 65,536. A slice, and a volume of any
length, needs no more memory than its range of integers, and no pixels are sorted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mricore.config.schema import Normalization
from mricore.records import Intensity, Pixels, SliceRecord

LOW_FRACTION = 0.005
"""The percentiles are the 0.5th and the 99.5th."""
LIMITS: Mapping[Normalization, tuple[str, str, str]] = {
    "slice": ("slice_intensity", "minimum", "maximum"),
    "volume": ("volume_intensity", "minimum", "maximum"),
    "percentile": ("slice_intensity", "p0_5", "p99_5"),
}
"""Which statistics of a record, and which two of them, become 0 and 1."""
NOTHING = Intensity(math.nan, math.nan, math.nan, math.nan)
"""Of no pixels."""


@dataclass(frozen=True)
class Histogram:
    """``counts[k]`` pixels hold the stored integer ``low + k``; without pixels there are no counts.

    The first and the last count are not zero.
    """

    low: int
    counts: NDArray[np.int64]

    @property
    def high(self) -> int:
        """The largest stored integer; below ``low`` if there are no pixels."""
        return self.low + self.counts.size - 1

    @cached_property
    def percentiles(self) -> tuple[float, float]:
        """The 0.5th and the 99.5th of the stored integers; NaN without pixels."""
        if not self.counts.size:
            return math.nan, math.nan
        return _percentiles(np.arange(self.low, self.high + 1), self.counts)

    def darkest(self, slope: float) -> int:
        """The stored integer of the smallest real intensity."""
        return self.low if slope > 0 else self.high

    def intensity(self, slope: float, intercept: float) -> Intensity:
        """Statistics in real intensities (slope * stored integer + intercept); NaN without pixels.

        Percentiles interpolate linearly between order statistics, as numpy's do.
        """
        if not self.counts.size:
            return NOTHING
        low, high, p0_5, p99_5 = (slope * v + intercept for v in (self.low, self.high, *self.percentiles))
        return Intensity(low, high, p0_5, p99_5) if slope > 0 else Intensity(high, low, p99_5, p0_5)


class VolumeStatistics:
    """Statistics over all pixels of a volume, fed slice by slice.

    Slices of one scale (slope and intercept), the usual case, share one histogram of at most 512 KiB.
    Philips may give each slice a scale of its own; then there are as many histograms as scales.
    """

    def __init__(self) -> None:
        self._histograms: dict[tuple[float, float], Histogram] = {}

    def add(self, histogram: Histogram, slope: float, intercept: float) -> None:
        """Count another slice in; one of nothing but padding changes nothing."""
        if not histogram.counts.size:
            return
        known = self._histograms.get((slope, intercept))
        self._histograms[slope, intercept] = histogram if known is None else _sum(known, histogram)

    def intensity(self) -> Intensity:
        """Over all pixels so far, as ``Histogram.intensity`` gives it."""
        points = [
            (slope * np.arange(one.low, one.high + 1) + intercept, one.counts)
            for (slope, intercept), one in self._histograms.items()
        ]
        values = np.concatenate([np.empty(0), *(part for part, _ in points)])
        counts = np.concatenate([np.empty(0, np.int64), *(part for _, part in points)])
        if not values.size:
            return NOTHING
        order = np.argsort(values)
        p0_5, p99_5 = _percentiles(values[order], counts[order])
        return Intensity(float(values.min()), float(values.max()), p0_5, p99_5)


def histogram(pixels: Pixels, padding: Sequence[int] = ()) -> Histogram:
    """Count the stored integers of a slice.

    ``padding`` is the range of integers that mean "no signal here" and are left out: the smallest and the
    largest, inclusive; empty if there is none.
    """
    low = pixels.min()
    # Modulo 2**16, so that the difference is exact over the whole range of int16 too.
    offsets = pixels.astype(np.uint16) - low.astype(np.uint16)
    counts = np.bincount(offsets.ravel())
    if not padding:
        return Histogram(int(low), counts)
    first, last = (limit - int(low) for limit in padding)
    counts[max(first, 0) : max(last + 1, 0)] = 0
    used = np.flatnonzero(counts)
    if not used.size:
        return Histogram(int(low), counts[:0])
    return Histogram(int(low) + int(used[0]), counts[used[0] : used[-1] + 1])


def without_padding(pixels: Pixels, padding: Sequence[int], darkest: int) -> Pixels:
    """The slice with ``darkest`` in its padded pixels, which normalisation by the slice makes 0.

    This is the one place of the whole system where stored integers change. A stored slice has no word for
    padding, and left as it is, padding above the signal (65535 is common) would become the brightest tissue.
    ``padding`` is as for ``histogram``, ``darkest`` as ``Histogram.darkest`` tells of what is not padding.
    The input is never written to, and is returned itself if nothing in it is padding.
    """
    if not padding:
        return pixels
    smallest, largest = padding
    padded = (pixels >= smallest) & (pixels <= largest)
    return np.where(padded, pixels.dtype.type(darkest), pixels) if padded.any() else pixels


def is_empty(intensity: Intensity) -> bool:
    """Whether there is no contrast at all, or nothing but padding."""
    return not intensity.maximum > intensity.minimum


def normalize(record: SliceRecord, mode: Normalization) -> NDArray[np.float32]:
    """A slice as (rows, columns) in [0, 1]: min-max of the slice (paper section 2.1.1), of its volume, or
    from the 0.5th to the 99.5th percentile of the slice with the rest cut off; no contrast gives zeros.
    """
    of, *parts = LIMITS[mode]
    low, high = (float(getattr(getattr(record, of), part)) for part in parts)
    return scaled(record.pixels, *levels(low, high, record.slope, record.intercept))


def levels(low: float, high: float, slope: float, intercept: float) -> tuple[float, float]:
    """Which stored integer becomes 0, and how far above it the one that becomes 1 lies.

    The real intensities ``low`` and ``high`` become 0 and 1. They go back to stored integers, so that float32
    subtracts exactly however large the offset. Without contrast the distance is infinite: all becomes 0.
    """
    if not high > low:
        return 0.0, math.inf
    return (low - intercept) / slope, (high - low) / slope


def scaled(pixels: Pixels, zero: float, span: float) -> NDArray[np.float32]:
    """Stored integers as numbers in [0, 1], with ``levels``."""
    values = pixels.astype(np.float32)
    values -= np.float32(zero)
    values /= np.float32(span)
    return np.clip(values, np.float32(0), np.float32(1), out=values)


def _sum(one: Histogram, other: Histogram) -> Histogram:
    low = min(one.low, other.low)
    counts = np.zeros(max(one.high, other.high) - low + 1, np.int64)
    for part in (one, other):
        counts[part.low - low :][: part.counts.size] += part.counts
    return Histogram(low, counts)


def _percentiles(values: NDArray[np.generic], counts: NDArray[np.int64]) -> tuple[float, float]:
    """The 0.5th and the 99.5th of values in ascending order that occur ``counts`` times."""
    up_to = np.cumsum(counts)
    last = int(up_to[-1]) - 1

    def quantile(fraction: float) -> float:
        rank = fraction * last
        below = math.floor(rank)
        lower, upper = values[np.searchsorted(up_to, [below, math.ceil(rank)], "right")].tolist()
        return float(lower + (upper - lower) * (rank - below))

    return quantile(LOW_FRACTION), quantile(1 - LOW_FRACTION)
