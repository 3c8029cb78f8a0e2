"""Attention over a whole grid with SAM's relative positions, on a CPU: exact, in pieces that fit its cache.

Folded into queries and keys (see ``relative.extend``), the positions of a large grid make heads three times
as wide, and the library's kernel wants values as wide as those. Here heads keep their width: the bias of a
row and of a column of the grid is added to the logits of a few queries at a time, which are never all there
at once, and are made again in the backward pass.

An operator (and not a function with loops) is one node for torch.compile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mricore.model.relative import Places

FROM = 1024
"""Tokens from which this pays: 1024 px have 4096, 512 px have 1024."""
QUERIES = 128
"""At a time; their logits towards 4096 keys take 2 MiB."""


def suits(queries: Tensor, where: Places) -> bool:
    """Whether this is the way to go: all tokens of a large grid, in full precision, on a CPU."""
    full = queries.dtype in (torch.float32, torch.float64)
    whole = where.entries.ndim == 2 and where.entries.shape[0] == where.height * where.width
    return queries.device.type == "cpu" and full and whole and queries.shape[2] >= FROM


def attend_grid(
    queries: Tensor, keys: Tensor, values: Tensor, table: Tensor, where: Places, scale: float
) -> Tensor:
    """softmax(scale * q k^T + bias) v, of (B, heads, height * width, channels).

    ``table`` are joined tables of relative positions, see ``relative.joined_tables``.
    """
    bias = _towards(queries, table, where)
    attended: Tensor = _attend(queries, keys, values, bias, where.height, where.width, scale)
    return attended


def _towards(queries: Tensor, table: Tensor, where: Places) -> Tensor:
    """What queries add towards each row and column, (B, heads, N, height + width).

    Queries of one row meet the same entries towards rows, those of one column towards columns.
    """
    entries = where.entries.unflatten(0, (where.height, where.width))
    by_row = table[entries[:, 0, : where.height]]
    by_column = table[entries[0, :, where.height : where.height + where.width]]
    cells = queries.unflatten(2, (where.height, where.width))
    rows = torch.einsum("bnhwd,hed->bnhwe", cells, by_row)
    columns = torch.einsum("bnhwd,wed->bnhwe", cells, by_column)
    return torch.cat([rows, columns], -1).flatten(2, 3)


@torch.library.custom_op("mricore::attend_grid", mutates_args=())
def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, towards: Tensor, height: int, width: int, scale: float
) -> Tensor:
    out = torch.empty_like(queries)
    for head in _heads(queries):
        q, bias, across, v = queries[head], towards[head], keys[head].mT, values[head]
        for piece in _pieces(len(q)):
            shares = _shares(q[piece] * scale, across, bias[piece], height, width)
            out[head][piece] = shares @ v
    return out


@torch.library.custom_op("mricore::attend_grid_backward", mutates_args=())
def _attend_backward(
    given: list[Tensor], out: Tensor, gradient: Tensor, height: int, width: int, scale: float
) -> list[Tensor]:
    """Gradients of queries, keys, values and ``towards``, which are ``given``."""
    found = [torch.zeros_like(one) for one in given]
    sums = (gradient * out).sum(-1, keepdim=True)
    for head in _heads(out):
        q, k, v, bias = (one[head] for one in given)
        of_q, of_k, of_v, of_bias = (one[head] for one in found)
        for piece in _pieces(len(q)):
            shares = _shares(q[piece] * scale, k.mT, bias[piece], height, width)
            incoming = gradient[head][piece]
            of_v += shares.mT @ incoming
            of_logits = (incoming @ v.mT).sub_(sums[head][piece]).mul_(shares)
            of_q[piece] = (of_logits @ k).mul_(scale)
            of_k += (of_logits.mT @ q[piece]).mul_(scale)
            cells = of_logits.view(-1, height, width)
            of_bias[piece, :height] = cells.sum(2)
            of_bias[piece, height:] = cells.sum(1)
    return found


def _heads(tensor: Tensor) -> Iterator[tuple[int, int]]:
    return ((image, head) for image in range(tensor.shape[0]) for head in range(tensor.shape[1]))


def _pieces(length: int) -> Iterator[slice]:
    return (slice(start, start + QUERIES) for start in range(0, length, QUERIES))


def _shares(queries: Tensor, across: Tensor, towards: Tensor, height: int, width: int) -> Tensor:
    """Softmax of the logits of some scaled queries (n, channels) towards all keys (channels, N): (n, N)."""
    cells = (queries @ across).view(-1, height, width)
    cells += towards[:, :height, None]
    cells += towards[:, None, height:]
    return cells.flatten(1).softmax(-1)


@_attend.register_fake
def _(
    queries: Tensor, keys: Tensor, values: Tensor, towards: Tensor, height: int, width: int, scale: float
) -> Tensor:
    return torch.empty_like(queries)


@_attend_backward.register_fake
def _(
    given: list[Tensor], out: Tensor, gradient: Tensor, height: int, width: int, scale: float
) -> list[Tensor]:
    return [torch.empty_like(one) for one in given]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.height, ctx.width, ctx.scale = inputs
    ctx.save_for_backward(*tensors, output)


def _backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    *given, out = context.saved_tensors
    of_given = _attend_backward(given, out, gradient, context.height, context.width, context.scale)
    return *of_given, None, None, None


_attend.register_autograd(_backward, setup_context=_keep)
