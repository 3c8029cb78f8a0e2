"""The neck between SAM's encoder and its mask decoder (arXiv 2304.02643, appendix A)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mricore.model.blocks import NORM_EPS


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


def build_neck(dim: int, neck_dim: int) -> nn.Sequential:
    """(B, dim, h, w) -> (B, neck_dim, h, w)."""
    return nn.Sequential(
        nn.Conv2d(dim, neck_dim, 1, bias=False),
        ChannelNorm(neck_dim),
        nn.Conv2d(neck_dim, neck_dim, 3, padding=1, bias=False),
        ChannelNorm(neck_dim),
    )
