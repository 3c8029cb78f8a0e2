"""Random weights as a pure function of a generator."""

from __future__ import annotations

import torch
from torch import nn

from mricore.model.image_token import AttentionPool
from mricore.model.mae_decoder import MaeDecoder
from mricore.model.neck import ChannelNorm
from mricore.model.plain_encoder import PlainEncoder
from mricore.model.projection_head import ProjectionHead
from mricore.model.relative_attention import RelativeAttention
from mricore.model.sam_encoder import SamEncoder

STD = 0.02


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter (values of ViT and DINOv2, arXiv 2304.07193) and freeze what is not trained.

    The neck belongs to SAM's decoder and gets no gradient, so it is frozen.
    """
    for parameter in network.parameters():
        parameter.fill_(float("nan"))  # a forgotten initialisation cannot hide
    for module in network.modules():
        _fill(module, generator)


def _fill(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=STD, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm | ChannelNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, RelativeAttention):
        nn.init.zeros_(module.rel_pos_h)
        nn.init.zeros_(module.rel_pos_w)
    elif isinstance(module, AttentionPool):
        nn.init.trunc_normal_(module.query, std=STD, generator=generator)
    elif isinstance(module, ProjectionHead):
        nn.init.trunc_normal_(module.prototypes, std=STD, generator=generator)
        nn.init.ones_(module.prototypes_length)
    elif isinstance(module, SamEncoder):
        nn.init.trunc_normal_(module.pos_embed, std=STD, generator=generator)
        module.neck.requires_grad_(False)
    elif isinstance(module, PlainEncoder):
        nn.init.trunc_normal_(module.pos_embed, std=STD, generator=generator)
        nn.init.normal_(module.cls_token, std=1e-6, generator=generator)
    elif isinstance(module, MaeDecoder):
        nn.init.normal_(module.mask_token, std=STD, generator=generator)
