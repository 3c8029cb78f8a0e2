"""One vector per slice from the patch tokens: SAM has no class token, DINO needs one.

A learned query attends to the normalised patch tokens (class attention, arXiv 2103.17239). The module is
trained beside the encoder and dropped at export, so the patch pathway is the same in training and in use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.model.attention import attend
from mricore.model.blocks import NORM_EPS, Mlp


class ImageToken(nn.Module):
    """Final norm of the patch tokens, and attention pooling."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        dim = settings.dim
        self.heads = settings.heads
        self.backend = settings.attention
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.query = nn.Parameter(torch.empty(dim))
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm_mlp = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, settings.mlp_ratio)
        self.norm_token = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, h, w, dim) -> image token (B, dim), normalised patch tokens (B, h * w, dim)."""
        patches: Tensor = self.norm(tokens.flatten(1, 2))
        batch, count, dim = patches.shape
        channels = dim // self.heads
        keys, values = (
            self.kv(patches).view(batch, count, 2, self.heads, channels).permute(2, 0, 3, 1, 4).unbind(0)
        )
        query = (self.query * channels**-0.5).to(keys.dtype).view(1, self.heads, 1, channels)
        pooled = attend(query.expand(batch, -1, -1, -1), keys, values, self.backend)
        token = self.proj(pooled.reshape(batch, dim))
        token = token + self.mlp(self.norm_mlp(token))
        return self.norm_token(token), patches
