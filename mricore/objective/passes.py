"""Passes over large tensors of logits: in blocks of rows, and at no less than float32.

At 65,536 prototypes a step holds hundreds of rows of a quarter of a megabyte each. On a CPU a block that
stays in the cache makes several elementwise operations cost little more than one; on a GPU blocks bound the
memory of what is only needed for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

CPU_BLOCK = 2**18
"""Elements of a block on a CPU: 1 MiB of float32, about half of a core's second-level cache."""
GPU_BLOCK = 2**26
"""Elements of a block on a GPU: 256 MiB of float32, large enough to keep it busy."""


def row_blocks(logits: Tensor) -> Iterator[slice]:
    """Slices of the rows of (..., n, K) logits such that ``logits[..., rows, :]`` is a block, or one row."""
    block = CPU_BLOCK if logits.device.type == "cpu" else GPU_BLOCK
    rows = logits.shape[-2]
    height = max(1, block * rows // max(1, logits.numel()))
    return (slice(start, min(start + height, rows)) for start in range(0, rows, height))


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type to compute in: float64 for float64, otherwise float32."""
    return torch.promote_types(dtype, torch.float32)


def centered_softmax(logits: Tensor, temperature: float, center: Tensor | None = None) -> Tensor:
    """softmax((logits - center) / temperature) of the rows of (n, K) logits; center (K,)."""
    answers = torch.empty_like(logits, dtype=wide(logits.dtype))
    for rows in row_blocks(logits):
        part = logits[rows].to(answers.dtype)
        part = part / temperature if center is None else (part - center).div_(temperature)
        torch.softmax(part, dim=-1, out=answers[rows])
    return answers


@dataclass(frozen=True)
class Passes:
    """How the passes over logits of a step are made; each way gives the same numbers up to rounding."""

    softmax: Callable[[Tensor, float, Tensor | None], Tensor]
    """Of logits (n, K), a temperature and a center (K,): as ``centered_softmax``."""
    mass: Callable[[Tensor, Tensor, float], Tensor]
    """Of logits (n, K), highest (K,), temperature: sum of exp((logits - highest) / temperature), (K,)."""
    scaled: Callable[[Tensor, Tensor, Tensor], Tensor]
    """A plan (n, K), which it may overwrite, times factors of its columns (K,) and of its rows (n,)."""
    losses: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    """Of logits (L, n, K), targets (n, K) and a temperature: cross-entropies of the rows, and their soft
    maxima temperature * log(sum of exp(logits / temperature)); (L, n, 1) each."""
    slopes: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]
    """Of logits, soft maxima, mass of the targets (n, 1), targets, factors (n, 1) and a temperature:
    factors * (mass * softmax - targets), like the logits."""


def _mass(logits: Tensor, highest: Tensor, temperature: float) -> Tensor:
    mass = torch.zeros_like(highest)
    for rows in row_blocks(logits):
        mass += (logits[rows].to(highest.dtype) - highest).div_(temperature).exp_().sum(0)
    return mass


def _scaled(plan: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    for block in row_blocks(plan):
        plan[block] *= columns * rows[block, None]
    return plan


def _losses(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    soft_maxima = logits.new_empty((*logits.shape[:2], 1), dtype=wide(logits.dtype))
    losses = torch.empty_like(soft_maxima)
    for rows in row_blocks(logits):
        part = logits[:, rows].to(soft_maxima.dtype)
        highest = part.amax(-1, keepdim=True)
        part = (part - highest).div_(temperature)
        expected = (part * targets[rows]).sum(-1, keepdim=True)
        log_sum = part.exp_().sum(-1, keepdim=True).log_()
        losses[:, rows] = targets[rows].sum(-1, keepdim=True) * log_sum - expected
        soft_maxima[:, rows] = highest + temperature * log_sum
    return losses, soft_maxima


def _slopes(
    logits: Tensor, soft_maxima: Tensor, mass: Tensor, targets: Tensor, factors: Tensor, temperature: float
) -> Tensor:
    slopes = torch.empty_like(logits)
    for rows in row_blocks(logits):
        part = logits[:, rows].to(soft_maxima.dtype)
        part = (part - soft_maxima[:, rows]).div_(temperature).exp_()
        part.mul_(mass[rows]).sub_(targets[rows])
        torch.mul(part, factors[rows], out=slopes[:, rows])
    return slopes


BLOCKWISE = Passes(centered_softmax, _mass, _scaled, _losses, _slopes)


@lru_cache(maxsize=1)
def compiled() -> Passes:
    """Passes that torch.compile fuses: logits are read once or twice, and nothing between is stored."""

    def softmax(logits: Tensor, temperature: float, center: Tensor | None = None) -> Tensor:
        part = logits.to(wide(logits.dtype))
        return torch.softmax((part if center is None else part - center) / temperature, dim=-1)

    def mass(logits: Tensor, highest: Tensor, temperature: float) -> Tensor:
        return ((logits.to(highest.dtype) - highest) / temperature).exp().sum(0)

    def scaled(plan: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
        return plan * columns * rows[:, None]

    def losses(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        part = logits.to(wide(logits.dtype))
        highest = part.amax(-1, keepdim=True)
        part = (part - highest) / temperature
        log_sum = part.exp().sum(-1, keepdim=True).log()
        cross = targets.sum(-1, keepdim=True) * log_sum - (part * targets).sum(-1, keepdim=True)
        return cross, highest + temperature * log_sum

    def slopes(
        logits: Tensor, maxima: Tensor, mass: Tensor, targets: Tensor, factors: Tensor, temperature: float
    ) -> Tensor:
        shares = ((logits.to(maxima.dtype) - maxima) / temperature).exp()
        return ((shares * mass - targets) * factors).to(logits.dtype)

    def fused(formula: Any) -> Any:
        return torch.compile(formula, dynamic=True)

    return Passes(*map(fused, (softmax, mass, scaled, losses, slopes)))
