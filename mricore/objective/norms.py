"""How far weights move; device scalars from a few grouped kernels, without waiting for the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def update_norm(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """||after - before|| / ||before|| over all tensors together: the relative size of one update."""
    moved = torch._foreach_sub(list(after), list(before))
    return _norm(moved) / _norm(before).clamp(min=1e-12)


def drift(initial: Sequence[Tensor], current: Sequence[Tensor]) -> Tensor:
    """||current - initial|| / ||initial||: how far a run has taken an encoder from where it began."""
    return update_norm(initial, current)


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(list(tensors))).float().norm()
