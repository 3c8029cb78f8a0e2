"""iBOT on masked patches (arXiv 2111.07832, as used by DINOv2)."""

from __future__ import annotations

from torch import Tensor

from mricore.objective.cross_entropy import cross_entropy
from mricore.objective.passes import BLOCKWISE, Passes


def ibot_share(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor,
    temperature: float,
    global_rows: int,
    passes: Passes = BLOCKWISE,
) -> Tensor:
    """This worker's share of the loss on masked patches.

    ``logits`` and ``targets`` (M, K) are of the masked patches, ``weights`` (M,) 1 / (masked patches of the
    same crop). The sum is divided by all 2 * ``global_rows`` global crops, masked or not, as DINOv2 does;
    shares sum to the loss of the global batch.
    """
    return cross_entropy(logits, targets, weights / (2 * global_rows), temperature, passes)
