"""DINO on image tokens (arXiv 2104.14294; multi-crop form of DINOv2, arXiv 2304.07193)."""

from __future__ import annotations

from torch import Tensor

from mricore.objective.cross_entropy import cross_entropy
from mricore.objective.passes import BLOCKWISE, Passes


def dino_shares(
    global_logits: Tensor,
    local_logits: Tensor | None,
    targets: Tensor,
    temperature: float,
    global_rows: int,
    passes: Passes = BLOCKWISE,
) -> tuple[Tensor, Tensor]:
    """This worker's share of the global and of the local term.

    ``global_logits`` and ``targets`` are (2b, K), first crops before second crops; ``local_logits`` is
    (L * b, K). Each student view is compared with every teacher view of another crop: 2 pairs of globals
    and 2 L pairs of a local with a global. Both terms are divided by the number of pairs, 2 + 2 L, and by
    ``global_rows``, the slices of the global batch, so that shares sum to the mean.
    """
    b = global_logits.shape[0] // 2
    locals_ = local_logits.shape[0] // b if local_logits is not None and b else 0
    weights = global_logits.new_full((2 * b,), 1.0 / ((2 + 2 * locals_) * global_rows), dtype=targets.dtype)
    crossed = targets.roll(b, 0)
    global_share = cross_entropy(global_logits, crossed, weights, temperature, passes)
    if local_logits is None:
        return global_share, global_share.new_zeros(())
    # a sum over both teachers is one product with the sum of their targets
    both = targets[:b] + targets[b:]
    views = local_logits.unflatten(0, (locals_, b))
    return global_share, cross_entropy(views, both, weights[:b], temperature, passes)
