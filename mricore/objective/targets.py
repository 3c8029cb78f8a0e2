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
    Computed in logarithms, so that no temperature and no spread of logits can overflow or divide by zero.
    """
    log_mass = logits.float() / temperature
    for _ in range(SINKHORN_ITERATIONS):
        log_mass = log_mass - _log_sum_over_batch(log_mass, communicator)  # prototypes to equal mass
        log_mass = torch.log_softmax(log_mass, dim=1)  # rows to equal mass
    return log_mass.exp()


def _log_sum_over_batch(log_mass: Tensor, communicator: Communicator) -> Tensor:
    """log of the sum of exp over the rows of all workers, (K,)."""
    highest = log_mass.max(0).values if len(log_mass) else log_mass.new_full(log_mass.shape[1:], -torch.inf)
    highest = communicator.maximum(highest)
    summed = communicator.sum(torch.exp(log_mass - highest).sum(0))
    return highest + torch.log(summed)
