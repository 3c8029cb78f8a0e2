"""How losses see the whole global batch: the one argument through which workers talk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


class Communicator(Protocol):
    """Sums, maxima and gathered rows over all workers."""

    @property
    def rank(self) -> int:
        """Number of this worker."""
        ...

    @property
    def world_size(self) -> int:
        """Number of workers."""
        ...

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over workers, without gradient."""
        ...

    def maximum(self, tensor: Tensor) -> Tensor:
        """Elementwise maximum over workers, without gradient."""
        ...

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Rows (counts[rank], C) of all workers, (sum(counts), C), in order of rank.

        Differentiable: a gradient with respect to the gathered rows reaches the worker that owns them,
        summed over the workers that used them.
        """
        ...


class Alone:
    """One process; nothing to communicate."""

    rank = 0
    world_size = 1

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def maximum(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows themselves."""
        return rows


class ProcessGroup:
    """The default group of torch.distributed (gloo or NCCL)."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()

    def sum(self, tensor: Tensor) -> Tensor:
        """All-reduced sum of a copy."""
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def maximum(self, tensor: Tensor) -> Tensor:
        """All-reduced maximum of a copy."""
        total = tensor.detach().clone()
        dist.all_reduce(total, op=dist.ReduceOp.MAX)
        return total

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """All-gathered rows; ragged counts are padded for the journey."""
        padded = F.pad(rows, (0, 0, 0, max(counts) - rows.shape[0]))
        gathered: Tensor = _AllGather.apply(padded)
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])


class _AllGather(torch.autograd.Function):
    """(n, C) of each worker -> (workers, n, C); backward sums every worker's gradient of our rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[dist.get_rank()]
