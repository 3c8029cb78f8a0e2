"""Adapters (Houlsby et al. 2019) around a frozen encoder and SAM's decoder, for few-shot adaptation.

Where they sit follows arXiv 2404.09957, on which section 4.3.1 of the MRI-CORE paper builds. All wrap
modules, so the forward passes of encoder and decoder, windows included, stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mricore.errors import UserError
from mricore.model.attention import Backend
from mricore.model.blocks import AttentionBase, Block
from mricore.model.encoder import Encoder
from mricore.model.relative_attention import Layout, RelativeAttention
from mricore.model.sam_decoder import SamDecoder

PARALLEL_SCALE = 0.5
"""Weight of an adapter beside an MLP."""
Part = TypeVar("Part", bound=nn.Module)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Constructors inside draw weights from ``seed``; torch's global generator is then as it was.

    torch's and segment_anything's constructors know no other generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the CPU alone
        yield


class Adapter(nn.Module):
    """Two linear functions with GELU between them, through a bottleneck."""

    def __init__(self, dim: int, ratio: float, zero: bool) -> None:
        """Weights as torch's constructor makes them; with ``zero`` the second function begins as zero."""
        super().__init__()
        bottleneck = int(dim * ratio)
        if bottleneck < 1:
            raise UserError(f"adapters of ratio {ratio} have no channel at width {dim}", "use a larger ratio")
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)
        if zero:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., dim) -> the same shape, without the input."""
        return self.up(F.gelu(self.down(tokens)))


class AfterAdapter(nn.Module):
    """A module, and then an adapter with a skip: x + adapter(x)."""

    def __init__(self, inner: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.inner = inner
        self.adapter = adapter

    def forward(self, *given: object) -> Tensor:
        """What ``inner`` takes and returns."""
        tokens: Tensor = self.inner(*given)
        return tokens + self.adapter(tokens)


class BeforeAdapter(nn.Module):
    """An adapter with a skip, and then a module."""

    def __init__(self, inner: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.inner = inner
        self.adapter = adapter

    def forward(self, tokens: Tensor) -> Tensor:
        """What ``inner`` takes and returns."""
        return self.inner(tokens + self.adapter(tokens))


class BesideAdapter(nn.Module):
    """An adapter beside a module, at half weight: f(x) + adapter(x) / 2."""

    def __init__(self, inner: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.inner = inner
        self.adapter = adapter

    def forward(self, tokens: Tensor) -> Tensor:
        """What ``inner`` takes and returns."""
        return self.inner(tokens) + PARALLEL_SCALE * self.adapter(tokens)


class PaddedBeforeNorm(nn.Module):
    """Windowed attention whose padding is the bias of the norm before it instead of zero.

    That is what comes out if a grid is padded before it is normalised, as the published few-shot code does.
    """

    def __init__(self, attention: RelativeAttention, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.attention = attention
        self.padding = norm.bias

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """(B, N, dim) -> the same shape."""
        if layout.cut is None:
            return self.attention(tokens, layout)
        (height, width), window = layout.cut, self.attention.window
        rows, columns = height + -height % window, width + -width % window
        padded = self.padding.expand(len(tokens), rows, columns, -1).clone()
        padded[:, :height, :width] = tokens.unflatten(1, (height, width))
        out = self.attention(padded.flatten(1, 2), layout._replace(cut=(rows, columns)))
        return out.unflatten(1, (rows, columns))[:, :height, :width].flatten(1, 2)


def sharing(module: Part) -> Part:
    """A copy of a module's structure with the very tensors of the original."""
    tensors = (*module.parameters(), *module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def adapt_encoder(encoder: Encoder, first: int, last: int, ratio: float, zero: bool) -> list[Adapter]:
    """Put adapters into the ``first`` and the ``last`` blocks: after attention, and beside the MLP.

    ``encoder`` is changed: give what ``sharing`` returned. ``ratio`` is bottleneck / width.

    Raises:
        UserError: the encoder has fewer blocks.
    """
    depth = len(encoder.blocks)
    if first + last > depth:
        raise UserError(f"adapters in {first} + {last} of {depth} blocks", "adapt fewer blocks")
    adapters: list[Adapter] = []
    for index in (*range(first), *range(depth - last, depth)):
        block = encoder.blocks[index]
        dim = block.norm1.weight.shape[0]
        pair = Adapter(dim, ratio, zero), Adapter(dim, ratio, zero)
        block.attn, block.mlp = AfterAdapter(block.attn, pair[0]), BesideAdapter(block.mlp, pair[1])
        adapters += pair
    return adapters


def adapt_decoder(decoder: SamDecoder, ratio: float, zero: bool) -> list[Adapter]:
    """Put adapters into the two-way layers of SAM's decoder, which is changed.

    One acts on the tokens after they looked at the image and again on the image after it looked at them; one
    is beside the MLP.
    """
    adapters: list[Adapter] = []
    for layer in decoder.mask_decoder.transformer.layers:
        dim = layer.norm1.weight.shape[0]
        pair = Adapter(dim, ratio, zero), Adapter(dim, ratio, zero)
        layer.norm2, layer.norm4 = BeforeAdapter(layer.norm2, pair[0]), BeforeAdapter(layer.norm4, pair[0])
        layer.mlp = BesideAdapter(layer.mlp, pair[1])
        adapters += pair
    return adapters


def pad_before_norm(encoder: Encoder) -> None:
    """Let windowed blocks see ``PaddedBeforeNorm``; ``encoder`` is changed, a plain one has none."""
    for block in encoder.blocks:
        if isinstance(block, Block) and isinstance(block.attn, RelativeAttention) and block.attn.window:
            block.attn = PaddedBeforeNorm(block.attn, block.norm1)


def with_attention(encoder: Encoder, backend: Backend) -> None:
    """Choose the kernels of attention; ``encoder`` is changed. Before modules are wrapped."""
    for block in encoder.blocks:
        if isinstance(block.attn, AttentionBase):
            block.attn.backend = backend


def without_relative_positions(encoder: Encoder) -> None:
    """Switch relative positions off; ``encoder`` is changed, its tables are not."""
    for block in encoder.blocks:
        if isinstance(block.attn, RelativeAttention):
            block.attn.relative = False
