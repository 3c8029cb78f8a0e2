"""Attention by kernels of our own, with SAM's relative positions inside them, as operators of torch.

torch.compile looks into a ``triton_op`` and launches its kernels itself, which spares the host what an opaque
operator costs.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mricore.model.triton_kernels import backward_kernel, backward_whole_kernel, forward_kernel

ONE_BLOCK = 64
"""Tokens that fit into one block of the backward pass."""
LARGE_GRID = 1024
"""From so many tokens on larger blocks are the faster ones (docs/decisions/0013-gpu-step.md)."""


def fused_attention(qkv: Tensor, towards: Tensor | None, codes: Tensor | None, scale: float) -> Tensor:
    """softmax(scale q k^T + towards codes^T) v, (B, N, H, D).

    Args:
        qkv: Queries, keys and values (B, N, 3, H, D), on a CUDA device.
        towards: Bias of each query towards each row and column of the grid (B, H, N, E), in any order of
            memory but for E; None for no bias.
        codes: Row and column of each key (N, E), or (B, N, E) if the keys differ between images.
        scale: Of the product of queries and keys, not of the bias.
    """
    if towards is None or codes is None:
        towards, codes = qkv.new_empty(0), qkv.new_empty(0)
    gathered: Tensor = _attend(qkv.contiguous(), towards, codes.contiguous(), scale)[0]
    return gathered


@triton_op("mricore::attend", mutates_args={})
def _attend(qkv: Tensor, towards: Tensor, codes: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    batch, tokens, heads, width = _constants(qkv)
    out = qkv.new_empty(batch, tokens, heads, width)
    log_sums = qkv.new_empty(batch, heads, tokens, dtype=torch.float32)
    queries, keys, warps = _forward_blocks(tokens)
    grid = (triton.cdiv(tokens, queries), batch * heads)
    if batch:
        wrap_triton(forward_kernel)[grid](
            *(qkv, towards, codes, out, log_sums, tokens, heads),
            *_strides(towards, codes),
            **_sizes(width, towards, scale),
            QUERIES=queries,
            KEYS=keys,
            num_warps=warps,
        )
    return out, log_sums


@triton_op("mricore::attend_backward", mutates_args={})
def _attend_backward(
    qkv: Tensor, towards: Tensor, codes: Tensor, out: Tensor, log_sums: Tensor, gradient: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    batch, tokens, heads, width = _constants(qkv)
    of_qkv, of_towards = torch.empty_like(qkv), torch.empty_like(towards)
    given = (qkv, towards, codes, out, log_sums, gradient, of_qkv, of_towards, tokens, heads)
    strides, sizes = _strides(towards, codes), _sizes(width, towards, scale)
    if batch and tokens <= ONE_BLOCK:
        block = max(16, triton.next_power_of_2(tokens))
        wrap_triton(backward_whole_kernel)[(batch * heads,)](
            *given, *strides, **sizes, TOKENS=block, num_warps=4
        )
    elif batch:
        queries, keys, warps = _backward_blocks(tokens)
        grid = (triton.cdiv(tokens, keys) + triton.cdiv(tokens, queries), batch * heads)
        wrap_triton(backward_kernel)[grid](
            *given, *strides, **sizes, QUERIES=queries, KEYS=keys, num_warps=warps
        )
    return of_qkv, of_towards


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, towards, codes, ctx.scale = inputs
    ctx.save_for_backward(qkv, towards, codes, *output)


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    qkv, towards, codes, out, log_sums = ctx.saved_tensors
    of_qkv, of_towards = _attend_backward(
        qkv, towards, codes, out, log_sums, gradient.contiguous(), ctx.scale
    )
    return of_qkv, of_towards, None, None


_attend.register_autograd(_differentiate, setup_context=_remember)


def _constants(qkv: Tensor) -> tuple[int, int, int, int]:
    """Images, tokens, heads and channels; for torch.compile all but the images are constants, as kernels are
    compiled for them."""
    return qkv.shape[0], int(qkv.shape[1]), int(qkv.shape[3]), int(qkv.shape[4])


def _forward_blocks(tokens: int) -> tuple[int, int, int]:
    """Queries and keys of a block, and warps."""
    return (128, 64, 8) if tokens >= LARGE_GRID else (64, 16 if tokens <= ONE_BLOCK else 32, 4)


def _backward_blocks(tokens: int) -> tuple[int, int, int]:
    return (128, 32, 8) if tokens >= LARGE_GRID else (64, 32, 4)


def _strides(towards: Tensor, codes: Tensor) -> tuple[int, int, int, int]:
    """Steps of ``towards`` to the next image, head and query, and of ``codes`` to the next image."""
    if not towards.numel():
        return 0, 0, 0, 0
    return towards.stride(0), towards.stride(1), towards.stride(2), codes.stride(0) if codes.ndim == 3 else 0


def _sizes(width: int, towards: Tensor, scale: float) -> dict[str, Any]:
    """What a kernel is compiled for: channels of a head, places of the bias, the blocks that hold them."""
    biased = towards.numel() > 0
    places = int(towards.shape[-1]) if biased else 0
    blocks = {"BLOCK_D": max(16, triton.next_power_of_2(width))}
    blocks["BLOCK_E"] = max(16, triton.next_power_of_2(places)) if biased else 16
    return {"D": width, "E": places, **blocks, "BIASED": biased, "SCALE": scale}
