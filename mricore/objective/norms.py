"""How large gradients are and how far weights move; a few grouped kernels, without waiting for the device.

Shared tensors (``objective/shards.py``) count with the rows of all workers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mricore.objective.shards import own, summed_like


def norms(groups: Sequence[Sequence[Tensor]]) -> Tensor:
    """The Euclidean norm of each group of tensors, (groups,); none may be empty."""
    found = [torch.stack(torch._foreach_norm([own(tensor) for tensor in group])).norm() for group in groups]
    return summed_like(torch.stack(found).square(), groups[0][0]).sqrt()


@torch.no_grad()
def update_norm(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """||after - before|| / ||before|| over all tensors together: the relative size of one update."""
    moved, size = norms([torch._foreach_sub(list(after), list(before)), before])
    return moved / size.clamp(min=1e-12)


def drift(initial: Sequence[Tensor], current: Sequence[Tensor]) -> Tensor:
    """||current - initial|| / ||initial||: how far a run has taken an encoder from where it began."""
    return update_norm(initial, current)
