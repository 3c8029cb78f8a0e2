"""Attention with SAM's decomposed relative positions, exact for any fused kernel.

The bias of query (h, w) towards key (h', w') is q . Rh[h - h'] + q . Rw[w - w'] (arXiv 2304.02643, from
MViTv2, arXiv 2112.01526), with q before scaling. It is an inner product of [q Rh^T, q Rw^T] with one-hot
codes of the key's row and column. Appending these to queries and keys gives the biased logits without
ever building an N x N bias.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mricore.errors import UserError

Backend = Literal["sdpa", "xformers"]


def attend(queries: Tensor, keys: Tensor, values: Tensor, backend: Backend) -> Tensor:
    """softmax(q k^T) v with scale 1; all tensors (batch, heads, tokens, channels).

    Raises:
        UserError: xformers is asked for on a device that is not CUDA.
    """
    if backend == "sdpa":
        return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
    if queries.device.type != "cuda":
        raise UserError("attention backend xformers needs a CUDA device", "use --set model.attention=sdpa")
    from xformers.ops import memory_efficient_attention

    # xformers wants (batch, tokens, heads, channels), and channels in eights for half precision
    parts = (padded_to(8, part).transpose(1, 2).contiguous() for part in (queries, keys, values))
    attended: Tensor = memory_efficient_attention(*parts, scale=1.0)
    return attended.transpose(1, 2)[..., : values.shape[-1]]


def padded_to(multiple: int, tensor: Tensor) -> Tensor:
    """Zeros appended to the last axis up to a multiple; they change no inner product."""
    return F.pad(tensor, (0, -tensor.shape[-1] % multiple))


def relative_rows(table: Tensor, size: int) -> Tensor:
    """Rows of a relative-position table for all pairs along one axis.

    ``table`` is (2 * n - 1, channels) for offsets -(n-1)..n-1. If n >= size, its centre is used, which
    keeps the meaning of an offset in tokens; a shorter table is stretched linearly, as SAM does.
    Returns (size, size, channels), indexed [query, key].
    """
    wanted = 2 * size - 1
    if table.shape[0] > wanted:
        margin = (table.shape[0] - wanted) // 2
        table = table[margin : margin + wanted]
    elif table.shape[0] < wanted:
        table = F.interpolate(table.T[None], size=wanted, mode="linear").squeeze(0).T
    positions = torch.arange(size, device=table.device)
    return table[positions[:, None] - positions[None, :] + size - 1]


def extend(
    queries: Tensor, keys: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Fold relative positions into queries and keys.

    ``queries`` and ``keys`` are (batch, heads, h * w, d); ``rows`` (h, h, d) and ``columns`` (w, w, d)
    come from ``relative_rows``. Returns extended queries and keys, (batch, heads, h * w, d + h + w).
    """
    batch, heads, _, channels = queries.shape
    height, width = rows.shape[0], columns.shape[0]
    grid = queries.view(batch, heads, height, width, channels)
    along_rows = torch.einsum("bnhwd,hkd->bnhwk", grid, rows)
    along_columns = torch.einsum("bnhwd,wkd->bnhwk", grid, columns)
    extended = torch.cat([grid * scale, along_rows, along_columns], dim=-1).flatten(2, 3)
    codes = _one_hot_positions(height, width, keys)
    return extended, torch.cat([keys, codes.expand(batch, heads, -1, -1)], dim=-1)


def _one_hot_positions(height: int, width: int, like: Tensor) -> Tensor:
    """(h * w, h + w): one-hot row beside one-hot column of each token."""
    eye = {"dtype": like.dtype, "device": like.device}
    rows = torch.eye(height, **eye).repeat_interleave(width, dim=0)  # type: ignore[call-overload]
    columns = torch.eye(width, **eye).repeat(height, 1)  # type: ignore[call-overload]
    return torch.cat([rows, columns], dim=1)
