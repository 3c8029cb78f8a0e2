"""How losses see the whole global batch: the one argument through which workers talk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


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

    @property
    def seconds(self) -> float:
        """Time of this process inside exchanges so far, waiting for slower workers included."""
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

    def time_gradients(self, forward: nn.Module) -> None:
        """Count in ``seconds`` how long a backward pass waits for the gradients of other workers."""
        ...


class Alone:
    """One process; nothing to communicate."""

    rank = 0
    world_size = 1
    seconds = 0.0

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def maximum(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows themselves."""
        return rows

    def time_gradients(self, forward: nn.Module) -> None:
        """Nothing is waited for."""


class ProcessGroup:
    """The default group of torch.distributed (gloo or NCCL).

    With gloo, ``seconds`` is how long the worker stands still. NCCL only queues its work, so with it
    ``seconds`` is the time to queue it, and the waiting is part of whatever next needs a result.
    """

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self.seconds = 0.0

    def sum(self, tensor: Tensor) -> Tensor:
        """All-reduced sum of a copy."""
        total = tensor.detach().clone()
        with self._timed():
            dist.all_reduce(total)
        return total

    def maximum(self, tensor: Tensor) -> Tensor:
        """All-reduced maximum of a copy."""
        total = tensor.detach().clone()
        with self._timed():
            dist.all_reduce(total, op=dist.ReduceOp.MAX)
        return total

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """All-gathered rows; ragged counts are padded for the journey."""
        padded = F.pad(rows, (0, 0, 0, max(counts) - rows.shape[0]))
        gathered: Tensor = _AllGather.apply(padded, self)
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])

    def time_gradients(self, forward: nn.Module) -> None:
        """Count in ``seconds`` how long a backward pass waits for the gradients of the other workers.

        For ``DistributedDataParallel`` on CPUs, once; for all else nothing is counted. Most gradients travel
        while others are computed; what is waited for is the last bucket. The sums are the same bits.
        """
        on_cpu = all(parameter.device.type == "cpu" for parameter in forward.parameters())
        if isinstance(forward, DistributedDataParallel) and on_cpu:
            # a lambda, since annotations that are text are refused
            forward.register_comm_hook(self, lambda group, bucket: _timed_mean(group, bucket))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


def _timed_mean(group: ProcessGroup, bucket: Any) -> torch.futures.Future[Tensor]:
    """What DistributedDataParallel does with a bucket of gradients by itself; the last one is timed."""
    last, start = bucket.is_last(), time.perf_counter()
    scaled = bucket.buffer().mul_(1.0 / group.world_size)

    def done(future: torch.futures.Future[Any]) -> Tensor:
        if last:
            group.seconds += time.perf_counter() - start
        total: Tensor = future.value()[0]
        return total

    return dist.all_reduce(scaled, async_op=True).get_future().then(done)


class _AllGather(torch.autograd.Function):
    """(n, C) of each worker -> (workers, n, C); backward sums every worker's gradient of our rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(rows) for _ in range(group.world_size)]
        with group._timed():
            dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        with ctx.group._timed():
            dist.all_reduce(total)
        return total[ctx.group.rank], None
