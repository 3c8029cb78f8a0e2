"""Teacher targets: two ways to keep the teacher from giving every image the same answer."""

from __future__ import annotations

import torch
from torch import Tensor

from mricore.objective.communication import Communicator

SINKHORN_ITERATIONS = 3


def centered_targets(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    """softmax((logits - center) / temperature), rows sum to 1; (n, K) float32 (DINO, arXiv 2104.14294)."""
    return torch.softmax((logits.float() - center) / temperature, dim=-1)


def updated_center(center: Tensor, logits: Tensor, momentum: float, communicator: Communicator) -> Tensor:
    """The moving average of the global batch's mean logits, (K,); unchanged if no worker has a row."""
    count = torch.full((1,), float(logits.shape[0]), device=logits.device)
    summed = communicator.sum(torch.cat([logits.float().sum(0), count]))
    mean = summed[:-1] / summed[-1].clamp(min=1)
    return torch.where(summed[-1] > 0, momentum * center + (1 - momentum) * mean, center)


def sinkhorn_targets(logits: Tensor, temperature: float, communicator: Communicator) -> Tensor:
    """Sinkhorn-Knopp (SwAV, arXiv 2006.09882) over the global batch: prototypes share it evenly.

    ``logits`` (n, K) are this worker's rows; n may differ between workers and may be 0. Rows sum to 1.
    """
    n, prototypes = logits.shape
    scaled = logits.float() / temperature
    # One shift for all workers cancels in the first normalisation and keeps exp finite.
    highest = scaled.max() if n else torch.full((), -torch.inf, device=logits.device)
    weights = torch.exp(scaled - communicator.maximum(highest))
    rows = communicator.sum(torch.full((), float(n), device=logits.device))
    weights = weights / communicator.sum(weights.sum())
    for _ in range(SINKHORN_ITERATIONS):
        weights = (
            weights / communicator.sum(weights.sum(0)).clamp(min=torch.finfo(weights.dtype).tiny) / prototypes
        )
        weights = weights / weights.sum(1, keepdim=True) / rows
    return weights * rows
