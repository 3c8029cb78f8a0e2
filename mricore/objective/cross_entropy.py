"""Cross-entropy between answers of the student and fixed targets, in few passes over the logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mricore.objective.passes import BLOCKWISE, Passes


def cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor, temperature: float, passes: Passes = BLOCKWISE
) -> Tensor:
    """Weighted sum of the cross-entropies between targets and softmax(logits / temperature); a scalar.

    ``logits`` (n, K), or (L, n, K) for L views of which each has the same ``targets`` (n, K); ``weights``
    (n,). Targets need not sum to one: the sum of several distributions gives the sum of their terms.
    Logits of half precision are widened as they are read; the gradient has the type of the logits.
    """
    views = logits if logits.ndim == 3 else logits[None]
    total: Tensor = _CrossEntropy.apply(views, targets, weights, temperature, passes)
    return total


class _CrossEntropy(torch.autograd.Function):
    """Saves its inputs and one number per row; a product of all rows by all prototypes is never stored."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, weights: Tensor, temperature: float, passes: Passes
    ) -> Tensor:
        losses, soft_maxima = passes.losses(logits, targets, temperature)
        ctx.save_for_backward(logits, targets, weights, soft_maxima)
        ctx.temperature, ctx.passes = temperature, passes
        return (losses.squeeze(-1) * weights).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, targets, weights, soft_maxima = ctx.saved_tensors
        factors = (weights * gradients[0] / ctx.temperature)[:, None]
        mass = targets.sum(-1, keepdim=True)
        slopes = ctx.passes.slopes(logits, soft_maxima, mass, targets, factors, ctx.temperature)
        return slopes, None, None, None, None
