"""Stochastic depth (arXiv 1603.09382) on subsets of the batch, as DINOv2 does it (arXiv 2304.07193).

A residual branch is computed only for the rows that keep it, so what is dropped costs nothing. The rows are
drawn on the host for the global batch, so the draw does not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mricore.model.transfer import to_device


class Kept(NamedTuple):
    """The rows of a worker's batch that keep one residual branch; there may be none."""

    rows: Tensor
    """(k,) int64, ascending, on the device."""
    scale: float
    """Rows of the global batch / kept rows of the global batch: keeps the branch's expectation."""


DropPath = Sequence[tuple[Kept, Kept]]
"""For each block the rows that keep its attention, and those that keep its MLP."""


def draw_kept(rng: np.random.Generator, depth: int, rows: int, rate: float) -> NDArray[np.bool_]:
    """(depth, 2, rows): which rows of the global batch keep each branch, the same number in each."""
    kept = max(1, round(rows * (1 - rate)))
    orders = rng.random((depth, 2, rows)).argsort(axis=-1)
    return orders < kept


def kept_of(kept: NDArray[np.bool_], own: NDArray[np.int64], device: torch.device) -> DropPath:
    """A worker's part of a draw (depth, 2, rows); ``own`` are the global indices of its rows."""
    scales = kept.shape[2] / kept.sum(-1)
    places = [np.flatnonzero(branch[own]) for branch in kept.reshape(-1, kept.shape[2])]
    rows = to_device(np.concatenate(places), device).split([len(place) for place in places])
    branches = [Kept(*pair) for pair in zip(rows, scales.ravel().tolist(), strict=True)]
    return list(zip(branches[::2], branches[1::2], strict=True))


def add_branch(tokens: Tensor, branch: Callable[[Tensor], Tensor], kept: Kept | None) -> Tensor:
    """``tokens`` (B, ...) + branch(tokens), the latter for the kept rows alone."""
    if kept is None:
        return tokens + branch(tokens)
    residual = branch(tokens.index_select(0, kept.rows))
    return tokens.index_add(0, kept.rows, residual.to(tokens.dtype), alpha=kept.scale)
