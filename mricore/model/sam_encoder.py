"""SAM's image encoder (arXiv 2304.02643), usable at any size that is a multiple of the patch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.blocks import Block
from mricore.model.drop_path import DropPath
from mricore.model.neck import build_neck
from mricore.model.patches import PatchEmbed, resampled, take
from mricore.model.relative_attention import Layout, RelativeAttention, grid_layout, visible_layout
from mricore.model.tokens import Tokens, VisibleTokens


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
        self.neck = build_neck(settings.dim, settings.neck_dim)

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
        tokens, grid = self._embedded(images, masks, mask_token)
        layout = grid_layout(*grid, self.window, self.literal, images.device)
        return Tokens(self._through(tokens, layout, drop).unflatten(1, grid), None)

    def leading(self, images: Tensor, blocks: int) -> tuple[Tensor, tuple[int, int]]:
        """What the first ``blocks`` make of images, for ``following``, and the grid of patches."""
        tokens, grid = self._embedded(images)
        layout = grid_layout(*grid, self.window, self.literal, images.device)
        return self._through(tokens, layout, None, range(blocks)), grid

    def following(self, tokens: Tensor, grid: tuple[int, int], blocks: int) -> Tokens:
        """What the blocks after the first ``blocks`` make of the output of those: as ``forward``."""
        layout = grid_layout(*grid, self.window, self.literal, tokens.device)
        tokens = self._through(tokens, layout, None, range(blocks, len(self.blocks)))
        return Tokens(tokens.unflatten(1, grid), None)

    def visible(self, images: Tensor, keep: Tensor) -> VisibleTokens:
        """Show the blocks only the patches at row-major places ``keep`` (B, n): tokens (B, n, dim).

        Raises:
            UserError: the grid is larger than a window, or the image no multiple of the patch.
        """
        tokens, (height, width) = self._embedded(images)
        if max(height, width) > self.window:
            raise UserError(
                f"a grid of {height} x {width} patches does not fit into a window of {self.window}",
                "use smaller crops, or a larger model.window",
            )
        layout = visible_layout(keep, height, width, self.window, self.literal)
        return VisibleTokens(self._through(take(tokens, keep), layout, None), None)

    def positions(self, height: int, width: int) -> Tensor:
        """The position master on another grid, (1, height, width, dim); itself at the native size."""
        return resampled(self.pos_embed, height, width)

    def to_neck(self, grid: Tensor) -> Tensor:
        """Tokens (B, h, w, dim) -> maps for SAM's decoder, (B, neck_dim, h, w)."""
        maps: Tensor = self.neck(grid.permute(0, 3, 1, 2))
        return maps

    def _embedded(
        self, images: Tensor, masks: Tensor | None = None, mask_token: Tensor | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """Patches with positions, (B, N, dim), and their grid."""
        tokens = self.patch_embed(images, masks, mask_token)
        height, width = tokens.shape[1:3]
        tokens = tokens + self.positions(height, width).to(tokens.dtype)
        return tokens.flatten(1, 2), (height, width)

    def _through(
        self, tokens: Tensor, layout: Layout, drop: DropPath | None, blocks: range | None = None
    ) -> Tensor:
        for index in range(len(self.blocks)) if blocks is None else blocks:
            tokens = self.blocks[index](tokens, drop[index] if drop else None, layout)
        return tokens
