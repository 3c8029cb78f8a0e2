"""SAM's image encoder (arXiv 2304.02643), usable at any size that is a multiple of the patch."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.blocks import NORM_EPS, AttentionBase, Block
from mricore.model.drop_path import DropPath
from mricore.model.patches import PatchEmbed, resampled, take
from mricore.model.relative import Places, extend, grid_places, joined_tables, places
from mricore.model.tokens import Tokens, VisibleTokens
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
        entries = 2 * (window or settings.native_grid) - 1
        self.rel_pos_h = nn.Parameter(torch.empty(entries, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.empty(entries, self.head_dim))

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """(B, N, dim) -> the same shape."""
        if not self.window:
            return self._among(tokens, layout.whole)
        if layout.cut is None:
            padded = F.pad(tokens, (0, 0, 0, layout.padding)) if layout.padding else tokens
            return self._among(padded, layout.window)[:, : tokens.shape[1]]
        windows = to_windows(tokens.unflatten(1, layout.cut), self.window)
        return from_windows(self._among(windows, layout.window), self.window, *layout.cut).flatten(1, 2)

    def _among(self, tokens: Tensor, where: Places) -> Tensor:
        queries, keys, values = self.split(tokens)
        table = joined_tables(self.rel_pos_h, self.rel_pos_w, where.height, where.width, self.stretch)
        return self.merged(*extend(queries, keys, table, where, self.head_dim**-0.5), values)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each position."""
        channels_last = maps.permute(0, 2, 3, 1)
        normed = F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, NORM_EPS)
        return normed.permute(0, 3, 1, 2)


class SamEncoder(nn.Module):
    """Patches, one master table of positions, blocks with windows, and the neck of SAM's decoder.

    The position master has SAM's native grid and is resampled in the forward pass, so training at any
    size trains the table that is exported.
    """

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.window = settings.window
        self.literal = settings.compat == "sam"
        self.patch_embed = PatchEmbed(settings.patch, settings.dim)
        self.pos_embed = nn.Parameter(
            torch.empty(1, settings.native_grid, settings.native_grid, settings.dim)
        )
        self.blocks = nn.ModuleList(
            Block(
                settings,
                RelativeAttention(settings, 0 if index in settings.global_blocks else settings.window),
            )
            for index in range(settings.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(settings.dim, settings.neck_dim, 1, bias=False),
            ChannelNorm(settings.neck_dim),
            nn.Conv2d(settings.neck_dim, settings.neck_dim, 3, padding=1, bias=False),
            ChannelNorm(settings.neck_dim),
        )

    def forward(
        self,
        images: Tensor,
        masks: Tensor | None = None,
        mask_token: Tensor | None = None,
        drop: DropPath | None = None,
    ) -> Tokens:
        """Normalised images (B, 3, H, W) -> tokens before the neck, (B, H / patch, W / patch, dim).

        Where ``masks`` (B, h, w) is true, the patch embedding is replaced by ``mask_token`` (dim,) before
        positions are added. ``drop`` tells the rows that keep each residual branch.

        Raises:
            UserError: H or W is not a multiple of the patch.
        """
        tokens = self.patch_embed(images, masks, mask_token)
        height, width = tokens.shape[1:3]
        tokens = (tokens + self.positions(height, width).to(tokens.dtype)).flatten(1, 2)
        tokens = self._through(tokens, self._layout(height, width, images.device), drop)
        return Tokens(tokens.unflatten(1, (height, width)), None)

    def visible(self, images: Tensor, keep: Tensor) -> VisibleTokens:
        """Show the blocks only the patches at row-major places ``keep`` (B, n): tokens (B, n, dim).

        Raises:
            UserError: the grid is larger than a window, or the image no multiple of the patch.
        """
        tokens = self.patch_embed(images)
        height, width = tokens.shape[1:3]
        if max(height, width) > self.window:
            raise UserError(
                f"a grid of {height} x {width} patches does not fit into a window of {self.window}",
                "use smaller crops, or a larger model.window",
            )
        tokens = (tokens + self.positions(height, width).to(tokens.dtype)).flatten(1, 2)
        layout = self._visible_layout(keep, height, width)
        return VisibleTokens(self._through(take(tokens, keep), layout, None), None)

    def positions(self, height: int, width: int) -> Tensor:
        """The position master on another grid, (1, height, width, dim); itself at the native size."""
        return resampled(self.pos_embed, height, width)

    def to_neck(self, grid: Tensor) -> Tensor:
        """Tokens (B, h, w, dim) -> maps for SAM's decoder, (B, neck_dim, h, w)."""
        maps: Tensor = self.neck(grid.permute(0, 3, 1, 2))
        return maps

    def _through(self, tokens: Tensor, layout: Layout, drop: DropPath | None) -> Tensor:
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, drop[index] if drop else None, layout)
        return tokens

    def _layout(self, height: int, width: int, device: torch.device) -> Layout:
        whole = grid_places(height, width, device)
        if max(height, width) <= self.window and not self.literal:
            return Layout(whole, whole, None, 0)
        return Layout(whole, grid_places(self.window, self.window, device), (height, width), 0)

    def _visible_layout(self, keep: Tensor, height: int, width: int) -> Layout:
        whole = places(keep, height, width)
        if not self.literal:
            return Layout(whole, whole, None, 0)
        side = self.window
        cells = torch.arange(side * side, device=keep.device).view(side, side)
        padding = torch.cat([cells[:height, width:].flatten(), cells[height:].flatten()])
        shown = keep // width * side + keep % width
        index = torch.cat([shown, padding.expand(len(keep), -1)], 1)
        return Layout(whole, places(index, side, side), None, len(padding))
