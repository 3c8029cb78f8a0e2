"""Teacher targets, and the ways to keep the teacher from giving every image the same answer."""

from __future__ import annotations

import torch
from torch import Tensor

from mricore.objective.communication import Communicator
from mricore.objective.passes import BLOCKWISE, Passes, wide

SINKHORN_ROUNDS = 3


def plain_targets(logits: Tensor, temperature: float, passes: Passes = BLOCKWISE) -> Tensor:
    """softmax(logits / temperature): nothing keeps the teacher from collapse (an ablation)."""
    return passes.softmax(logits, temperature, None)


def centered_targets(
    logits: Tensor, center: Tensor, temperature: float, passes: Passes = BLOCKWISE
) -> Tensor:
    """softmax((logits - center) / temperature), rows sum to 1; (n, K) (DINO, arXiv 2104.14294)."""
    return passes.softmax(logits, temperature, center)


def updated_center(center: Tensor, logits: Tensor, momentum: float, communicator: Communicator) -> Tensor:
    """The moving average of the global batch's mean logits, (K,); unchanged if no worker has a row."""
    dtype = wide(logits.dtype)
    count = torch.full((1,), float(logits.shape[0]), dtype=dtype, device=logits.device)
    summed = communicator.sum(torch.cat([logits.sum(0, dtype=dtype), count]))
    mean = summed[:-1] / summed[-1]
    return torch.where(summed[-1] > 0, momentum * center + (1 - momentum) * mean, center)


def sinkhorn_targets(
    logits: Tensor, temperature: float, communicator: Communicator, passes: Passes = BLOCKWISE
) -> Tensor:
    """Sinkhorn-Knopp (SwAV, arXiv 2006.09882) over the global batch: prototypes share it evenly.

    ``logits`` (n, K) are this worker's rows; n may differ between workers and may be 0. Rows sum to 1.

    A round gives equal mass to prototypes, then to rows. The first works on logarithms, so that no
    temperature and no spread of logits overflows. After it every prototype has an entry of at least
    1 / (rows K), as the largest of its column was at least 1 / rows and no row held more than K. So the
    other rounds are products with one fixed matrix, whose scales stay below (rows K) ** 2, far inside the
    range of float32.
    """
    center = _soft_maximum(logits, temperature, communicator, passes)
    plan = passes.softmax(logits, temperature, center)
    rows = plan.new_ones(len(plan))
    prototypes = plan.new_ones(plan.shape[1])
    for _ in range(SINKHORN_ROUNDS - 1):
        prototypes = 1.0 / communicator.sum(plan.T @ rows)
        rows = 1.0 / (plan @ prototypes)
    return passes.scaled(plan, prototypes, rows)


def _soft_maximum(logits: Tensor, temperature: float, communicator: Communicator, passes: Passes) -> Tensor:
    """temperature * log(sum of exp(logits / temperature)) over the rows of all workers, (K,)."""
    dtype = wide(logits.dtype)
    largest = logits.amax(0) if len(logits) else logits.new_full(logits.shape[1:], -torch.inf)
    highest = communicator.maximum(largest.to(dtype))
    mass = passes.mass(logits, highest, temperature)
    return highest + temperature * communicator.sum(mass).log()
