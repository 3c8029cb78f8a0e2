"""Passes over large tensors of logits: in blocks of rows, and at no less than float32.

At 65,536 prototypes a step holds hundreds of rows of a quarter of a megabyte each. On a CPU a block that
stays in the cache makes several elementwise operations cost little more than one; on a GPU blocks bound the
memory of what is only needed for a moment.
"""

from __future__ import annotations

from collections.abc import Iterator

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
