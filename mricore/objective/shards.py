"""Tensors that workers share, each holding some of the rows (DTensors of PyTorch's ``fully_shard``).

A tensor that is not shared is whole on every worker; all functions take it too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def own(tensor: Tensor) -> Tensor:
    """This worker's rows, the same memory; there may be none."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All rows; the workers that share the tensor must call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, shared out if ``like`` is; as each worker has it whole, nothing is communicated."""
    if not isinstance(like, DTensor):
        return tensor
    # a copy, as the rows would keep the memory of all others
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None).clone()


def summed_like(tensor: Tensor, like: Tensor) -> Tensor:
    """The sum of ``tensor`` over the workers that share ``like``; the tensor itself if that is whole."""
    if not isinstance(like, DTensor):
        return tensor
    total = tensor.clone()
    torch.distributed.all_reduce(total, group=like.device_mesh.get_group())
    return total
