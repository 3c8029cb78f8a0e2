"""SAM's image encoder (arXiv 2304.02643), usable at any size that is a multiple of the patch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.blocks import NORM_EPS, Block


class PatchEmbed(nn.Module):
    """Image (B, 3, H, W) -> tokens (B, H / patch, W / patch, dim)."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """Cut and embed."""
        return self.proj(images).permute(0, 2, 3, 1)


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
        self.patch = settings.patch
        self.patch_embed = PatchEmbed(settings.patch, settings.dim)
        self.pos_embed = nn.Parameter(
            torch.empty(1, settings.native_grid, settings.native_grid, settings.dim)
        )
        self.blocks = nn.ModuleList(
            Block(settings, 0 if index in settings.global_blocks else settings.window)
            for index in range(settings.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(settings.dim, settings.neck_dim, 1, bias=False),
            ChannelNorm(settings.neck_dim),
            nn.Conv2d(settings.neck_dim, settings.neck_dim, 3, padding=1, bias=False),
            ChannelNorm(settings.neck_dim),
        )

    def forward(
        self, images: Tensor, masks: Tensor | None = None, mask_token: Tensor | None = None
    ) -> Tensor:
        """Normalised images (B, 3, H, W) -> tokens before the neck, (B, H / patch, W / patch, dim).

        Where ``masks`` (B, h, w) is true, the patch embedding is replaced by ``mask_token`` (dim,) before
        positions are added.

        Raises:
            UserError: H or W is not a multiple of the patch.
        """
        if images.shape[2] % self.patch or images.shape[3] % self.patch:
            raise UserError(
                f"image size {tuple(images.shape[2:])} is not a multiple of the patch {self.patch}",
                "resize or pad the images",
            )
        tokens = self.patch_embed(images)
        if masks is not None and mask_token is not None:
            tokens = torch.where(masks[..., None], mask_token.to(tokens.dtype), tokens)
        tokens = tokens + self.positions(tokens.shape[1], tokens.shape[2]).to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def positions(self, height: int, width: int) -> Tensor:
        """The position master on another grid, (1, height, width, dim); itself at the native size."""
        if (height, width) == tuple(self.pos_embed.shape[1:3]):
            return self.pos_embed
        channels_first = self.pos_embed.permute(0, 3, 1, 2)
        resized = F.interpolate(channels_first, (height, width), mode="bicubic", antialias=True)
        return resized.permute(0, 2, 3, 1)

    def to_neck(self, tokens: Tensor) -> Tensor:
        """Tokens (B, h, w, dim) -> maps for SAM's decoder, (B, neck_dim, h, w)."""
        maps: Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return maps
