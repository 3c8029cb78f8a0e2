"""The projection head of DINO and iBOT (arXiv 2304.07193): MLP, unit sphere, prototypes."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mricore.config.schema import Head


class ProjectionHead(nn.Module):
    """Features (n, dim) -> logits over prototypes (n, K), in the type that they are computed in.

    Each prototype has a direction and a trainable length, as in DINOv2 (weight normalisation whose
    length starts at 1 and is left free).
    """

    def __init__(self, dim: int, settings: Head) -> None:
        super().__init__()
        widths = [dim, *[settings.hidden] * (settings.layers - 1), settings.bottleneck]
        self.layers = nn.ModuleList(nn.Linear(inner, outer) for inner, outer in pairwise(widths))
        self.prototypes = nn.Parameter(torch.empty(settings.prototypes, settings.bottleneck))
        self.prototypes_length = nn.Parameter(torch.empty(settings.prototypes, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Project; rows are independent."""
        for index, layer in enumerate(self.layers):
            features = layer(F.gelu(features) if index else features)
        on_sphere = F.normalize(features.to(self.prototypes.dtype), dim=-1, eps=1e-6)
        weights = torch._weight_norm(self.prototypes, self.prototypes_length)  # fused, as torch.nn uses it
        return F.linear(on_sphere, weights)
