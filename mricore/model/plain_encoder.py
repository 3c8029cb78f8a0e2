"""A plain ViT: DINOv2's (arXiv 2304.07193) without LayerScale, the layout of the released MRI-CORE."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.model.drop_path import DropPath
from mricore.model.patches import PatchEmbed, resampled, take
from mricore.model.plain_block import PlainBlock
from mricore.model.tokens import ChosenTokens, Tokens, VisibleTokens


class PlainEncoder(nn.Module):
    """Patches and a class token with absolute positions, blocks with global attention, no final norm."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.native_grid = settings.native_grid
        self.patch_embed = PatchEmbed(settings.patch, settings.dim)
        self.cls_token = nn.Parameter(torch.empty(1, 1, settings.dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + settings.native_grid**2, settings.dim))
        self.blocks = nn.ModuleList(PlainBlock(settings) for _ in range(settings.depth))

    def forward(
        self,
        images: Tensor,
        masks: Tensor | None = None,
        mask_token: Tensor | None = None,
        drop: DropPath | None = None,
    ) -> Tokens:
        """Normalised images (B, 3, H, W) -> tokens (B, H / patch, W / patch, dim) and class token (B, dim).

        Where ``masks`` (B, h, w) is true, the patch embedding is replaced by ``mask_token`` (dim,) before
        positions are added. ``drop`` tells the rows that keep each residual branch.

        Raises:
            UserError: H or W is not a multiple of the patch.
        """
        grid = self._embedded(images, masks, mask_token)
        tokens = self._through(grid.flatten(1, 2), drop)
        return Tokens(tokens[:, 1:].unflatten(1, grid.shape[1:3]), tokens[:, 0])

    def leading(self, images: Tensor, blocks: int) -> tuple[Tensor, tuple[int, int]]:
        """What the first ``blocks`` make of images, for ``following``, and the grid of patches."""
        grid = self._embedded(images)
        tokens = self._with_class(grid.flatten(1, 2))
        for block in self.blocks[:blocks]:
            tokens = block(tokens)
        return tokens, (grid.shape[1], grid.shape[2])

    def following(self, tokens: Tensor, grid: tuple[int, int], blocks: int) -> Tokens:
        """What the blocks after the first ``blocks`` make of the output of those: as ``forward``."""
        for block in self.blocks[blocks:]:
            tokens = block(tokens)
        return Tokens(tokens[:, 1:].unflatten(1, grid), tokens[:, 0])

    def chosen(
        self,
        images: Tensor,
        masks: Tensor | None,
        mask_token: Tensor | None,
        drop: DropPath | None,
        index: Tensor,
    ) -> ChosenTokens:
        """Of what ``forward`` returns, only the class tokens and the patches at ``index``, for less work.

        ``index`` (M,) are row-major places in (B * h * w). The last block makes no other patch; if no patch
        is asked for, its queries are the class tokens alone.
        """
        patches = self._embedded(images, masks, mask_token).flatten(1, 2)
        tokens = self._through(patches, drop, but_last=True)
        batch, length = tokens.shape[:2]
        readers = length if len(index) else 1
        first = torch.arange(0, batch * readers, readers, device=tokens.device)
        shifted = index + index // (length - 1) + 1  # each image has its class token before its patches
        last = cast(PlainBlock, self.blocks[-1])
        rows = last.chosen(tokens, readers, torch.cat([first, shifted]), drop[-1] if drop else None)
        return ChosenTokens(rows[:batch], rows[batch:])

    def visible(self, images: Tensor, keep: Tensor) -> VisibleTokens:
        """Show the blocks only the patches at row-major places ``keep`` (B, n), and the class token.

        Raises:
            UserError: the image is no multiple of the patch.
        """
        tokens = self._through(take(self._embedded(images).flatten(1, 2), keep), None)
        return VisibleTokens(tokens[:, 1:], tokens[:, 0])

    def positions(self, height: int, width: int) -> Tensor:
        """The patches' positions on another grid, (1, height, width, dim); themselves at the native size."""
        table = self.pos_embed[:, 1:].unflatten(1, (self.native_grid, self.native_grid))
        return resampled(table, height, width)

    def _embedded(
        self, images: Tensor, masks: Tensor | None = None, mask_token: Tensor | None = None
    ) -> Tensor:
        grid = self.patch_embed(images, masks, mask_token)
        return grid + self.positions(*grid.shape[1:3]).to(grid.dtype)

    def _through(self, patches: Tensor, drop: DropPath | None, but_last: bool = False) -> Tensor:
        tokens = self._with_class(patches)
        for index, block in enumerate(self.blocks[: -1 if but_last else None]):
            tokens = block(tokens, drop[index] if drop else None)
        return tokens

    def _with_class(self, patches: Tensor) -> Tensor:
        first = (self.cls_token + self.pos_embed[:, :1]).to(patches.dtype)
        return torch.cat([first.expand(len(patches), -1, -1), patches], 1)
