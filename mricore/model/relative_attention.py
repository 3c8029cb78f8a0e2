"""SAM's attention (arXiv 2304.02643): inside windows or over the grid, with relative positions."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.model.attention import fused
from mricore.model.blocks import AttentionBase
from mricore.model.grid_attention import attend_grid, suits
from mricore.model.relative import Places, extend, grid_places, joined_tables, places, towards
from mricore.model.windows import from_windows, to_windows


class Layout(NamedTuple):
    """How the tokens of a pass lie, made once for all blocks."""

    whole: Places
    """For blocks without windows."""
    window: Places
    """For blocks with windows."""
    cut: tuple[int, int] | None
    """Grid to cut into windows, or None if one window holds all tokens."""
    padding: int
    """Zero tokens to append as keys where nothing is cut."""


class RelativeAttention(AttentionBase):
    """Attention with decomposed relative positions, inside windows or (``window`` 0) among all tokens."""

    def __init__(self, settings: Model, window: int) -> None:
        super().__init__(settings)
        self.window = window
        self.stretch = settings.compat == "sam"
        self.relative = True
        """Off, tokens attend without relative positions, as if all entries of the tables were zero."""
        entries = 2 * (window or settings.native_grid) - 1
        self.rel_pos_h = nn.Parameter(torch.empty(entries, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.empty(entries, self.head_dim))

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """(B, N, dim) -> the same shape."""
        return self.proj(self._inside(tokens, layout) if self.window else self._among(tokens, layout.whole))

    def _inside(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Inside windows; what windows are padded with ends before it is projected."""
        if layout.cut is None:
            padded = F.pad(tokens, (0, 0, 0, layout.padding)) if layout.padding else tokens
            return self._among(padded, layout.window)[:, : tokens.shape[1]]
        windows = to_windows(tokens.unflatten(1, layout.cut), self.window)
        return from_windows(self._among(windows, layout.window), self.window, *layout.cut).flatten(1, 2)

    def _among(self, tokens: Tensor, where: Places) -> Tensor:
        """What tokens (B, N, dim) gather from each other, of the same shape."""
        scale = self.head_dim**-0.5
        if not self.relative:
            if self.backend == "triton":
                return fused(self.together(tokens), None, None, scale)
            return self.joined(*self.split(tokens))
        table = joined_tables(self.rel_pos_h, self.rel_pos_w, where.height, where.width, self.stretch)
        if self.backend == "triton":
            qkv = self.together(tokens)
            bias = towards(qkv[:, :, 0].transpose(1, 2), table, where)
            codes = where.codes[:, 0] if where.codes.ndim > 2 else where.codes
            return fused(qkv, bias, codes.to(qkv.dtype), scale)
        queries, keys, values = self.split(tokens)
        if suits(queries, where):
            return attend_grid(queries, keys, values, table, where, scale).transpose(1, 2).flatten(2)
        return self.joined(*extend(queries, keys, table, where, scale), values)


def grid_layout(height: int, width: int, window: int, literal: bool, device: torch.device) -> Layout:
    """All tokens of a grid. One that fits into a window is neither cut nor padded, unless ``literal``."""
    whole = grid_places(height, width, device)
    if max(height, width) <= window and not literal:
        return Layout(whole, whole, None, 0)
    return Layout(whole, grid_places(window, window, device), (height, width), 0)


def visible_layout(keep: Tensor, height: int, width: int, window: int, literal: bool) -> Layout:
    """The tokens at ``keep`` (B, n) of a grid that fits into a window; if ``literal``, then its padding."""
    whole = places(keep, height, width)
    if not literal:
        return Layout(whole, whole, None, 0)
    cells = torch.arange(window * window, device=keep.device).view(window, window)
    padding = torch.cat([cells[:height, width:].flatten(), cells[height:].flatten()])
    shown = keep // width * window + keep % width
    index = torch.cat([shown, padding.expand(len(keep), -1)], 1)
    return Layout(whole, places(index, window, window), None, len(padding))
