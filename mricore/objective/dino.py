"""DINO on image tokens (arXiv 2104.14294; multi-crop form of DINOv2, arXiv 2304.07193)."""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy_sum(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Sum over rows of the cross-entropy between targets and softmax(logits / temperature); scalar."""
    return -(targets * torch.log_softmax(logits.float() / temperature, dim=-1)).sum()


def dino_shares(
    global_logits: Tensor, local_logits: Tensor | None, targets: Tensor, temperature: float, global_rows: int
) -> tuple[Tensor, Tensor]:
    """This worker's share of the global and of the local term.

    ``global_logits`` and ``targets`` are (2b, K), first crops before second crops; ``local_logits`` is
    (L * b, K). Each student view is compared with every teacher view of another crop: 2 pairs of globals
    and 2 L pairs of a local with a global. Both terms are divided by the number of pairs, 2 + 2 L, and by
    ``global_rows``, the slices of the global batch, so that shares sum to the mean.
    """
    b = global_logits.shape[0] // 2
    first, second = targets[:b], targets[b:]
    locals_ = local_logits.shape[0] // b if local_logits is not None and b else 0
    scale = 1.0 / ((2 + 2 * locals_) * global_rows)
    crossed = torch.cat([second, first])
    global_share = cross_entropy_sum(global_logits, crossed, temperature) * scale
    if local_logits is None:
        return global_share, torch.zeros_like(global_share)
    # a sum over both teachers is one product with the sum of their targets
    both = (first + second).repeat(locals_, 1)
    return global_share, cross_entropy_sum(local_logits, both, temperature) * scale
