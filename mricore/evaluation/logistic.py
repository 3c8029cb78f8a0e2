"""Multinomial logistic regression with L2 on hard or soft labels, to its one optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

Array = NDArray[np.float64]
ITERATIONS = 500


@dataclass(frozen=True)
class Scaling:
    """Mean and deviation (C,) of each channel; a channel that does not vary is only centred."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Scaling:
        """Of features (n, C)."""
        deviation = features.std(0, dtype=np.float64)
        return cls(features.mean(0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))

    def apply(self, features: NDArray[np.floating]) -> Array:
        """Features (..., C) scaled."""
        return (features - self.mean) / self.deviation


@dataclass(frozen=True)
class Classifier:
    """Weights (C, K) and bias (K,) on scaled features."""

    scaling: Scaling
    weights: Array
    bias: Array

    def logits(self, features: NDArray[np.floating]) -> Array:
        """(..., C) -> (..., K)."""
        weights = self.weights / self.scaling.deviation[:, None]
        return features @ weights + (self.bias - self.scaling.mean @ weights)


def fitted(
    features: NDArray[np.floating], targets: Array, l2: float, start: Classifier | None = None
) -> Classifier:
    """The classifier of least mean cross-entropy plus ``l2 / 2`` times the squared weights; bias is free.

    Features (n, C) are scaled by their own mean and deviation; targets (n, K) are shares that sum to 1.
    ``start`` is where to look first; it does not change the optimum, only how soon it is reached.
    """
    scaling = Scaling.of(features)
    scaled = scaling.apply(features)
    count, channels = scaled.shape
    classes = targets.shape[1]

    def objective(values: Array) -> tuple[float, Array]:
        weights, bias = values[:-classes].reshape(channels, classes), values[-classes:]
        logs = log_softmax(scaled @ weights + bias, axis=1)
        errors = (np.exp(logs) - targets) / count
        loss = -(targets * logs).sum() / count + 0.5 * l2 * (weights**2).sum()
        slope = scaled.T @ errors + l2 * weights
        return float(loss), np.concatenate([slope.ravel(), errors.sum(0)])

    first = np.zeros((channels + 1) * classes)
    if start is not None:
        first = np.concatenate([start.weights.ravel(), start.bias])
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x
    return Classifier(scaling, found[:-classes].reshape(channels, classes), found[-classes:])


def one_hot(codes: NDArray[np.integer], classes: int) -> Array:
    """Codes (...) as shares (..., K)."""
    return np.eye(classes)[codes]
