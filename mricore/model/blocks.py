"""Transformer blocks of SAM's encoder; parameter names are SAM's, so its weights fit as they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.model.attention import attend, extend, relative_rows

NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head attention over a grid of tokens (B, h, w, dim), with decomposed relative positions."""

    def __init__(self, settings: Model, table_size: int) -> None:
        super().__init__()
        self.heads = settings.heads
        self.backend = settings.attention
        head_dim = settings.dim // settings.heads
        self.qkv = nn.Linear(settings.dim, 3 * settings.dim)
        self.proj = nn.Linear(settings.dim, settings.dim)
        self.rel_pos_h = nn.Parameter(torch.empty(2 * table_size - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.empty(2 * table_size - 1, head_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend among all tokens of each grid."""
        batch, height, width, dim = tokens.shape
        qkv = self.qkv(tokens).view(batch, height * width, 3, self.heads, dim // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, h*w, head dim)
        rows = relative_rows(self.rel_pos_h, height).to(queries.dtype)
        columns = relative_rows(self.rel_pos_w, width).to(queries.dtype)
        queries, keys = extend(queries, keys, rows, columns, scale=(dim // self.heads) ** -0.5)
        attended = attend(queries, keys, values, self.backend)
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, dim))


class Mlp(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        hidden = int(dim * ratio)
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Per token."""
        return self.lin2(F.gelu(self.lin1(tokens)))


class Block(nn.Module):
    """Pre-norm block; ``window`` 0 means attention over the whole grid.

    A grid that fits into one window is attended as a whole without padding: at 14 x 14 this is exactly
    SAM's window, below it avoids the padded tokens. A larger grid is cut into windows and padded with
    zeros after the norm, literally as SAM does.
    """

    def __init__(self, settings: Model, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(settings.dim, eps=NORM_EPS)
        self.attn = Attention(settings, window or settings.native_grid)
        self.norm2 = nn.LayerNorm(settings.dim, eps=NORM_EPS)
        self.mlp = Mlp(settings.dim, settings.mlp_ratio)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, dim) -> the same shape."""
        tokens = tokens + self._attend(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))

    def _attend(self, tokens: Tensor) -> Tensor:
        height, width = tokens.shape[1:3]
        if not self.window or max(height, width) <= self.window:
            return self.attn(tokens)
        windows = to_windows(tokens, self.window)
        return from_windows(self.attn(windows), self.window, height, width)


def to_windows(tokens: Tensor, window: int) -> Tensor:
    """(B, h, w, C) -> (B * number of windows, window, window, C), zero-padded at bottom and right."""
    batch, height, width, channels = tokens.shape
    tokens = F.pad(tokens, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = tokens.shape[1] // window, tokens.shape[2] // window
    tokens = tokens.view(batch, rows, window, columns, window, channels)
    return tokens.transpose(2, 3).reshape(-1, window, window, channels)


def from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo ``to_windows``: (B, height, width, C)."""
    rows, columns = -(-height // window), -(-width // window)
    tokens = windows.view(-1, rows, columns, window, window, windows.shape[-1])
    tokens = tokens.transpose(2, 3).reshape(-1, rows * window, columns * window, windows.shape[-1])
    return tokens[:, :height, :width]
