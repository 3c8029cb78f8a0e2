"""iBOT on masked patches (arXiv 2111.07832, as used by DINOv2)."""

from __future__ import annotations

import torch
from torch import Tensor


def ibot_share(
    logits: Tensor, targets: Tensor, masks: Tensor, temperature: float, global_rows: int
) -> Tensor:
    """This worker's share of the loss on masked patches.

    ``logits`` and ``targets`` (M, K) follow the true entries of ``masks`` (2b, g, g) in row-major order.
    A patch weighs 1 / (masked patches of its crop), and the sum is divided by all 2 * ``global_rows``
    global crops, masked or not, as DINOv2 does; shares sum to the loss of the global batch.
    """
    flat = masks.flatten(1)
    counts = flat.sum(1, keepdim=True).clamp(min=1)
    weights = (1.0 / counts).expand_as(flat)[flat]
    per_patch = -(targets * torch.log_softmax(logits.float() / temperature, dim=-1)).sum(-1)
    return (per_patch * weights).sum() / (2 * global_rows)
