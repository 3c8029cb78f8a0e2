"""Tables of absolute positions, on SAM's grid or in a plain ViT's row with the class token in front."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from mricore.errors import UserError
from mricore.model.patches import resampled


def grid_of(table: Tensor) -> Tensor:
    """Patch positions of a plain ViT (1, 1 + g * g, dim), or SAM's (1, g, g, dim), as (1, g, g, dim).

    Raises:
        UserError: the table is no square grid.
    """
    if table.ndim == 3 and table.shape[1] > 1 and isqrt(table.shape[1] - 1) ** 2 == table.shape[1] - 1:
        side = isqrt(table.shape[1] - 1)
        return table[:, 1:].unflatten(1, (side, side))
    if table.ndim == 4 and table.shape[1] == table.shape[2]:
        return table
    raise UserError(
        f"positions of shape {tuple(table.shape)} are no square grid", "give weights of a square image size"
    )


def on_grid(table: Tensor, side: int) -> Tensor:
    """A plain ViT's or SAM's positions on a square grid, (1, side, side, dim); a copy at their own size."""
    return resampled(grid_of(table), side, side).clone()


def with_class_row(grid: Tensor, row: Tensor | None = None) -> Tensor:
    """(1, g, g, dim) -> (1, 1 + g * g, dim), behind the class token's row (1, 1, dim), by default zeros."""
    row = grid.new_zeros(1, 1, grid.shape[-1]) if row is None else row
    return torch.cat([row, grid.flatten(1, 2)], dim=1)
