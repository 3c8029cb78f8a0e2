"""Patches of an image: embedding, absolute positions, and the choice of some."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mricore.errors import UserError
from mricore.model.input_norm import InputNorm


class PatchEmbed(nn.Module):
    """Image (B, 3, H, W) -> tokens (B, H / patch, W / patch, dim).

    Grey images (B, 1, H, W) in [0, 1] count as what ``InputNorm`` makes of them; as its channels are the same
    up to scale and shift, they are folded into the weights, which is a third of the arithmetic.
    """

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)
        self.norm = InputNorm()

    def forward(
        self, images: Tensor, masks: Tensor | None = None, mask_token: Tensor | None = None
    ) -> Tensor:
        """Cut and embed; where ``masks`` (B, h, w) is true, ``mask_token`` (dim,) takes the place.

        Raises:
            UserError: H or W is not a multiple of the patch.
        """
        if images.shape[2] % self.patch or images.shape[3] % self.patch:
            raise UserError(
                f"image size {tuple(images.shape[2:])} is not a multiple of the patch {self.patch}",
                "resize or pad the images",
            )
        grey = images.shape[1] == 1
        tokens: Tensor = self._of_grey(images) if grey else self.proj(images).permute(0, 2, 3, 1)
        if masks is None or mask_token is None:
            return tokens
        return torch.where(masks[..., None], mask_token.to(tokens.dtype), tokens)

    def _of_grey(self, images: Tensor) -> Tensor:
        """Pixels are centred before they may be rounded to bfloat16, so that little is left to the bias."""
        weights, middle = self.proj.weight / self.norm.std, self.norm.mean.mean()
        bias = (weights * (middle - self.norm.mean)).sum((1, 2, 3))
        if self.proj.bias is not None:
            bias = bias + self.proj.bias
        batch, _, height, width = images.shape
        cut = images.view(batch, height // self.patch, self.patch, width // self.patch, self.patch)
        pixels = (cut - middle).transpose(2, 3).flatten(3)
        return F.linear(pixels, weights.sum(1).flatten(1), bias)


def resampled(positions: Tensor, height: int, width: int) -> Tensor:
    """A table of positions (1, h, w, dim) on another grid, bicubically with antialias; itself on its own.

    As two matrix products, whose gradient is cheap and the same each time, unlike that of ``interpolate``.
    """
    if (height, width) == tuple(positions.shape[1:3]):
        return positions
    with _in_full_precision(positions.device.type):
        rows = resize_matrix(positions.shape[1], height, positions)
        columns = resize_matrix(positions.shape[2], width, positions)
        resized = rows @ positions[0].flatten(1)  # (height, w * dim)
        return (columns @ resized.view(height, *positions.shape[2:]))[None]


def _in_full_precision(device: str) -> AbstractContextManager[object]:
    """Unlike ``interpolate``, a matrix product would be rounded to bfloat16 by autocast."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def resize_matrix(length: int, size: int, like: Tensor) -> Tensor:
    """Weights (size, length) of bicubic resampling with antialias along one axis."""
    eye = torch.eye(length, dtype=like.dtype, device=like.device)
    return F.interpolate(eye[None, None], (size, length), mode="bicubic", antialias=True)[0, 0]


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Of tokens (B, N, dim) those at ``index`` (B, n) of each row: (B, n, dim)."""
    batch, count, dim = tokens.shape
    starts = torch.arange(batch, device=index.device)[:, None] * count
    return tokens.reshape(-1, dim).index_select(0, (index + starts).flatten()).view(*index.shape, dim)
