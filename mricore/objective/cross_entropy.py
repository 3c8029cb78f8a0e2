"""Cross-entropy between answers of the student and fixed targets, in few passes over the logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mricore.objective.passes import row_blocks, wide


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Weighted sum of the cross-entropies between targets and softmax(logits / temperature); a scalar.

    ``logits`` (n, K), or (L, n, K) for L views of which each has the same ``targets`` (n, K); ``weights``
    (n,). Targets need not sum to one: the sum of several distributions gives the sum of their terms.
    Logits of half precision are widened block by block; the gradient has the type of the logits.
    """
    views = logits if logits.ndim == 3 else logits[None]
    total: Tensor = _CrossEntropy.apply(views, targets, weights, temperature)
    return total


class _CrossEntropy(torch.autograd.Function):
    """Saves its inputs and one number per row; a product of all rows by all prototypes is never stored."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, weights: Tensor, temperature: float) -> Tensor:
        soft_maxima = logits.new_empty((*logits.shape[:2], 1), dtype=wide(logits.dtype))
        losses = torch.empty_like(soft_maxima)
        mass = targets.sum(-1, keepdim=True)
        for rows in row_blocks(logits):
            part = logits[:, rows].to(soft_maxima.dtype)
            highest = part.amax(-1, keepdim=True)
            part = (part - highest).div_(temperature)
            expected = (part * targets[rows]).sum(-1, keepdim=True)
            log_sum = part.exp_().sum(-1, keepdim=True).log_()
            losses[:, rows] = mass[rows] * log_sum - expected
            soft_maxima[:, rows] = highest + temperature * log_sum
        ctx.save_for_backward(logits, targets, weights, soft_maxima, mass)
        ctx.temperature = temperature
        return (losses.squeeze(-1) * weights).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        logits, targets, weights, soft_maxima, mass = ctx.saved_tensors
        factors = (weights * gradients[0] / ctx.temperature)[:, None]
        gradient = torch.empty_like(logits)
        for rows in row_blocks(logits):
            part = logits[:, rows].to(soft_maxima.dtype)
            part = (part - soft_maxima[:, rows]).div_(ctx.temperature).exp_()
            part.mul_(mass[rows]).sub_(targets[rows])
            torch.mul(part, factors[rows], out=gradient[:, rows])
        return gradient, None, None, None
