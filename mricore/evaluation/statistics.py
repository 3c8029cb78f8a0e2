"""Intervals and paired tests over patients: slices of one patient are not independent.

For one draw, or none; where several draws are judged on the same patients: ``crossed.py``.

Intervals are bootstrap percentiles. The test flips signs of whole patients instead, because it stays valid
when patients are few: with 5 of them and no true difference, the bootstrap calls 14% of comparisons
significant at 0.05 (simulated), the sign flips none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

RESAMPLES = 2000
LEVEL = 0.95
EXACT_PATIENTS = 11
"""Up to this many patients all 2^n sign patterns are tried; beyond, ``RESAMPLES`` random ones."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference:
    """Second minus first on the same patients, with interval and two-sided p."""

    interval: Interval
    p: float


def bootstrap_mean(
    values: NDArray[np.float64], patients: NDArray[np.str_], rng: np.random.Generator
) -> Interval:
    """Mean of per-slice values (n,) with an interval over patients (n,); slices weigh equally."""
    sums, counts = _patient_sums(values, patients)
    draws = rng.integers(0, len(counts), (RESAMPLES, len(counts)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    patients: NDArray[np.str_],
    rng: np.random.Generator,
) -> Difference:
    """Mean of ``second - first`` (n,) on the same slices: interval and sign-flip test over patients (n,)."""
    differences = second - first
    sums, _ = _patient_sums(differences, patients)
    return Difference(bootstrap_mean(differences, patients, rng), sign_flip_p(sums, rng))


def wilson(share: float, count: int) -> Interval:
    """A share of ``count`` independent ones with Wilson's interval."""
    z2 = float(norm.ppf(0.5 + LEVEL / 2)) ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / (4 * count)) / count) / (1 + z2 / count)
    return Interval(share, min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share))


def holm(p_values: Sequence[float]) -> list[float]:
    """Two-sided p values corrected for their number (Holm 1979), in the given order."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values)[order]), 1)
    return [float(p) for p in corrected]


def sign_flip_p(sums: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Share of sign patterns over sums (patients,) whose total is as far from 0 as the observed one.

    It is a two-sided p of "each sum is as likely to be positive as negative": exact for up to
    ``EXACT_PATIENTS``, and never below 2 / 2^n for n of them.
    """
    exact = len(sums) <= EXACT_PATIENTS
    if exact:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(sums))))
    else:
        signs = rng.integers(0, 2, (RESAMPLES, len(sums))) * 2 - 1
    observed = abs(sums.sum())
    tolerance = 1e-9 * np.abs(sums).sum()  # equal totals summed in another order
    reached = int((np.abs(signs @ sums) >= observed - tolerance).sum())
    # the observed pattern is among all patterns, but not among random ones
    return reached / len(signs) if exact else (reached + 1) / (len(signs) + 1)


def _patient_sums(
    values: NDArray[np.float64], patients: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum of values and number of slices of each patient, (patients,) each."""
    _, owner = np.unique(patients, return_inverse=True)
    return np.bincount(owner, values).astype(np.float64), np.bincount(owner).astype(np.int64)
