"""Intervals and paired comparisons by bootstrap over patients: slices of one patient are not independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its 95% bootstrap percentile interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference:
    """Second minus first on the same patients, with interval and two-sided bootstrap p."""

    interval: Interval
    p: float


def bootstrap_mean(
    values: NDArray[np.float64], patients: NDArray[np.str_], rng: np.random.Generator
) -> Interval:
    """Mean of per-slice values (n,) with an interval over patients (n,); slices weigh equally."""
    means = _resampled_means(values, patients, rng)
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    patients: NDArray[np.str_],
    rng: np.random.Generator,
) -> Difference:
    """Mean of ``second - first`` (n,) on the same slices, resampling patients (n,)."""
    differences = second - first
    means = _resampled_means(differences, patients, rng)
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    beyond = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * (int(beyond) + 1) / (RESAMPLES + 1))
    return Difference(Interval(float(differences.mean()), float(low), float(high)), p)


def _resampled_means(
    values: NDArray[np.float64], patients: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means over ``RESAMPLES`` draws of patients with replacement, (RESAMPLES,)."""
    _, owner = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    draws = rng.integers(0, len(counts), (RESAMPLES, len(counts)))
    return sums[draws].sum(1) / counts[draws].sum(1)
