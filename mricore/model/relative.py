"""SAM's decomposed relative positions, exact for any fused kernel and any subset of a grid.

The bias of query (h, w) towards key (h', w') is q . Rh[h - h'] + q . Rw[w - w'] (arXiv 2304.02643, from
MViTv2, arXiv 2112.01526), with q before scaling. It is an inner product: of q's products with the entries
of both tables towards each row and column of the grid, with one-hot codes of the key's row and column.
Appending these to queries and keys gives the biased logits without ever building an N x N bias.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Places(NamedTuple):
    """Where N tokens lie in a grid (height, width); E is height + width, rounded up to a multiple of 8."""

    height: int
    width: int
    entries: Tensor
    """(N, E) or (B, 1, N, E) int64: for each token as a query, its entry of the joined tables towards each
    row and column of the grid."""
    codes: Tensor
    """(N, E) or (B, 1, N, E): one-hot row beside one-hot column of each token as a key, then zeros."""


def grid_places(height: int, width: int, device: torch.device) -> Places:
    """All tokens of a grid in row-major order."""
    return places(torch.arange(height * width, device=device), height, width)


def places(index: Tensor, height: int, width: int) -> Places:
    """The tokens at row-major places ``index`` (..., N) of a grid; a batch of them gets a head axis."""
    if index.ndim > 1:
        index = index[:, None]
    rows, columns = index[..., None] // width, index[..., None] % width
    towards_rows = torch.arange(height, device=index.device)
    towards_columns = torch.arange(width, device=index.device)
    entries = [rows - towards_rows + height - 1, columns - towards_columns + (2 * height - 1) + width - 1]
    codes = [rows == towards_rows, columns == towards_columns]
    padding = (0, -(height + width) % 8)  # any entry will do there, as its code is zero
    return Places(
        height,
        width,
        F.pad(torch.cat(entries, -1), padding),
        F.pad(torch.cat(codes, -1).float(), padding),
    )


def joined_tables(rows: Tensor, columns: Tensor, height: int, width: int, stretch: bool) -> Tensor:
    """Both tables of relative positions for a grid, one above the other: (2 h - 1 + 2 w - 1, channels)."""
    return torch.cat([fitted(rows, height, stretch), fitted(columns, width, stretch)])


def fitted(table: Tensor, size: int, stretch: bool) -> Tensor:
    """A table (2 n - 1, channels) of offsets -(n-1)..n-1 for ``size`` tokens along its axis.

    Of a longer table the centre is taken, which keeps the meaning of an offset in tokens, unless it is to be
    stretched as segment_anything does; a shorter one is always stretched, linearly.
    """
    wanted = 2 * size - 1
    if table.shape[0] > wanted and not stretch:
        margin = (table.shape[0] - wanted) // 2
        return table[margin : margin + wanted]
    if table.shape[0] == wanted:
        return table
    return F.interpolate(table.T[None], size=wanted, mode="linear").squeeze(0).T


def towards(queries: Tensor, table: Tensor, where: Places) -> Tensor:
    """What queries (batch, heads, N, d) add towards each row and column of the grid, (batch, heads, N, E)."""
    table = table.to(queries.dtype)
    if where.entries.ndim > 2:
        return (queries @ table.T).gather(-1, where.entries.expand(*queries.shape[:2], -1, -1))
    # a product per token with the entries that it meets in all images and heads; lies token by token
    return torch.einsum("bhnd,ned->bhne", queries, F.embedding(where.entries, table))


def extend(
    queries: Tensor, keys: Tensor, table: Tensor, where: Places, scale: float
) -> tuple[Tensor, Tensor]:
    """Fold relative positions into queries and keys (batch, heads, N, d); both become (..., d + E).

    ``scale`` is what attention will multiply logits with; it must not change the bias, so codes are divided
    by it.
    """
    entries = where.entries.expand(*queries.shape[:2], -1, -1)
    towards = (queries @ table.to(queries.dtype).T).gather(-1, entries)
    codes = (where.codes.to(keys.dtype) / scale).expand(*keys.shape[:2], -1, -1)
    return torch.cat([queries, towards], -1), torch.cat([keys, codes], -1)
