"""Multinomial logistic regression with L2 on hard or soft labels, to its one optimum.

scipy's L-BFGS-B looks for it on the host; loss and slope are computed by torch, in double precision on either
device, so that a device changes how sums are rounded and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

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


@dataclass(frozen=True)
class Problem:
    """Scaled features (n, C) and targets (n, K), which stay on a device; only weights and slopes travel."""

    scaling: Scaling
    features: Tensor
    targets: Tensor

    @classmethod
    def of(cls, features: NDArray[np.floating], targets: Array, device: str = "cpu") -> Problem:
        """Features (n, C), scaled by their own mean and deviation; targets (n, K) are shares and sum to 1."""
        scaling = Scaling.of(features)
        mean, deviation = (torch.tensor(one, device=device) for one in (scaling.mean, scaling.deviation))
        scaled = (torch.tensor(features, device=device) - mean) / deviation
        return cls(scaling, scaled, torch.tensor(targets, dtype=torch.float64, device=device))

    def loss_and_slope(self, values: Array, l2: float) -> tuple[float, Array]:
        """Mean cross-entropy plus ``l2 / 2`` times the squared weights, and its slope.

        ``values`` ((C + 1) K,) are the weights (C, K), row by row, and then the bias, which is free.
        """
        count, classes = self.targets.shape
        moved = torch.tensor(values, device=self.features.device)
        weights, bias = moved[:-classes].view(-1, classes), moved[-classes:]
        logs = torch.log_softmax(torch.addmm(bias, self.features, weights), 1)
        errors = (logs.exp() - self.targets) / count
        loss = 0.5 * l2 * weights.square().sum() - (self.targets * logs).sum() / count
        # errors come first in the product: with features first it takes twice as long on a CPU
        slope = (errors.T @ self.features).T + l2 * weights
        found = torch.cat([loss[None], slope.reshape(-1), errors.sum(0)]).cpu().numpy()
        return float(found[0]), found[1:]

    def optimum(self, l2: float, start: Classifier | None = None) -> Classifier:
        """The classifier of least loss.

        ``start`` is where to look first; it does not change the optimum, only how soon it is reached.
        """
        channels, classes = self.features.shape[1], self.targets.shape[1]
        first = np.zeros((channels + 1) * classes)
        if start is not None:
            first = np.concatenate([start.weights.ravel(), start.bias])
        options = {"maxiter": ITERATIONS}
        found = minimize(self.loss_and_slope, first, (l2,), "L-BFGS-B", jac=True, options=options).x
        return Classifier(self.scaling, found[:-classes].reshape(channels, classes), found[-classes:])


def fitted(
    features: NDArray[np.floating],
    targets: Array,
    l2: float,
    start: Classifier | None = None,
    device: str = "cpu",
) -> Classifier:
    """The optimum for features (n, C) and targets (n, K), whose loss is computed on a device."""
    return Problem.of(features, targets, device).optimum(l2, start)


def path(
    features: NDArray[np.floating], targets: Array, strengths: Sequence[float], device: str = "cpu"
) -> list[Classifier]:
    """The optimum for each strength of L2, each sought from where the one before it lies."""
    problem, found = Problem.of(features, targets, device), list[Classifier]()
    for l2 in strengths:
        found.append(problem.optimum(l2, found[-1] if found else None))
    return found


def one_hot(codes: NDArray[np.integer], classes: int) -> Array:
    """Codes (...) as shares (..., K)."""
    return np.eye(classes)[codes]
