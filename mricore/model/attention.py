"""Attention kernels behind one function."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mricore.errors import UserError

Backend = Literal["sdpa", "xformers", "triton"]
FUSED_FROM = 256
"""On a CPU the fused kernel pays for more keys than this where it needs padding; without, it always does."""

OWN_UP_TO = 64
"""Tokens up to which a kernel of our own is the faster one without relative positions (one H200)."""


def attend(queries: Tensor, keys: Tensor, values: Tensor, scale: float, backend: Backend) -> Tensor:
    """softmax(scale * q k^T) v; all tensors (batch, heads, tokens, channels), values of any width.

    ``triton`` is for whole sequences (see ``fused``); a few queries take ``sdpa``.

    Raises:
        UserError: xformers or triton is asked for on a device that is not CUDA.
    """
    on_cuda = queries.device.type == "cuda"
    require_cuda(backend, queries.device)
    # fused kernels want one width for all, a multiple of eight; zeros change no inner product
    channels, width = values.shape[-1], -(-max(queries.shape[-1], values.shape[-1]) // 8) * 8
    fits = queries.shape[-1] == channels == width
    # drop path may leave a worker without rows, which not every fused kernel takes
    if not queries.shape[0] or not (on_cuda or fits or keys.shape[2] > FUSED_FROM):
        return torch.softmax((queries * scale) @ keys.mT, dim=-1) @ values
    queries, keys, values = (padded_to(width, part) for part in (queries, keys, values))
    if backend == "xformers":
        return _xformers(queries, keys, values, scale)[..., :channels]
    return F.scaled_dot_product_attention(queries, keys, values, scale=scale)[..., :channels]


def fused(qkv: Tensor, towards: Tensor | None, codes: Tensor | None, scale: float) -> Tensor:
    """The backend ``triton``: attention among all tokens of qkv (B, N, 3, heads, channels): (B, N, dim).

    ``towards`` and ``codes`` are relative positions, see ``triton_attention.fused_attention``. Long sequences
    without them are for torch's kernel, which is the faster one there.

    Raises:
        UserError: the device is not CUDA.
    """
    require_cuda("triton", qkv.device)
    if towards is None and qkv.shape[1] > OWN_UP_TO:
        queries, keys, values = (part.transpose(1, 2) for part in qkv.unbind(2))
        return attend(queries, keys, values, scale, "sdpa").transpose(1, 2).flatten(2)
    from mricore.model.triton_attention import fused_attention  # Triton comes with torch for CUDA alone

    return fused_attention(qkv, towards, codes, scale).flatten(2)


def require_cuda(backend: Backend, device: torch.device) -> None:
    """Refuse a backend that the device has not.

    Raises:
        UserError: xformers or triton on a device that is not CUDA.
    """
    if backend != "sdpa" and device.type != "cuda":
        raise UserError(f"attention backend {backend} needs a CUDA device", "use --set model.attention=sdpa")


def padded_to(width: int, tensor: Tensor) -> Tensor:
    """Zeros appended to the last axis up to ``width``; the tensor itself if nothing is missing."""
    missing = width - tensor.shape[-1]
    return F.pad(tensor, (0, missing)) if missing else tensor


def _xformers(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    from xformers.ops import memory_efficient_attention

    parts = (part.transpose(1, 2) for part in (queries, keys, values))  # (batch, tokens, heads, channels)
    attended: Tensor = memory_efficient_attention(*parts, scale=scale)
    return attended.transpose(1, 2)
