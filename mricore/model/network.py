"""The network that student and teacher share: encoder, image token, projection head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mricore.config.schema import Head, Model
from mricore.model.blocks import Attention
from mricore.model.image_token import ImageToken
from mricore.model.projection_head import ProjectionHead
from mricore.model.sam_encoder import ChannelNorm, SamEncoder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Projections:
    """Outputs of one pass over a batch of b slices with L local crops; K prototypes, M masked patches.

    ``patch_logits`` follow the true entries of the masks in row-major order.
    """

    image_logits: Tensor  # (2b, K): first global crop of all slices, then the second
    patch_logits: Tensor  # (M, K)
    local_logits: Tensor | None  # (L * b, K), crop by crop
    image_tokens: Tensor  # (2b, dim)


class InputNorm(nn.Module):
    """One channel in [0, 1] -> three channels with ImageNet's statistics, which SAM and DINOv2 expect."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 3, H, W)."""
        return (images - self.mean) / self.std


class Network(nn.Module):
    """Everything that is trained. One forward call makes all projections, so that DDP sees one pass."""

    def __init__(self, model: Model, head: Head) -> None:
        super().__init__()
        self.input_norm = InputNorm()
        self.encoder = SamEncoder(model)
        self.token = ImageToken(model)
        self.head = ProjectionHead(model.dim, head)
        self.mask_token = nn.Parameter(torch.empty(model.dim))

    def forward(self, globals_: Tensor, masks: Tensor, locals_: Tensor | None, hide: bool) -> Projections:
        """Project global crops (2b, 1, G, G), masked patches, and local crops (L * b, 1, S, S).

        With ``hide`` the patches in ``masks`` (2b, g, g) are replaced by the mask token (student);
        without, the same patches are projected from the full view (teacher).
        """
        tokens = self.encoder(self.input_norm(globals_), masks if hide else None, self.mask_token)
        image_tokens, patches = self.token(tokens)
        local_logits = None
        if locals_ is not None:
            local_tokens, _ = self.token(self.encoder(self.input_norm(locals_)))
            local_logits = self.head(local_tokens)
        return Projections(
            image_logits=self.head(image_tokens),
            patch_logits=self.head(patches[masks.flatten(1)]),
            local_logits=local_logits,
            image_tokens=image_tokens,
        )


def build_network(model: Model, head: Head, generator: torch.Generator) -> Network:
    """A network with random weights; a pure function of settings and generator.

    The neck belongs to SAM's decoder and gets no gradient from DINO, so it is frozen.
    """
    network = Network(model, head)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))  # a forgotten initialisation cannot hide
        for module in network.modules():
            _initialise(module, generator)
        for table in (network.encoder.pos_embed, network.token.query):
            nn.init.trunc_normal_(table, std=0.02, generator=generator)
        nn.init.zeros_(network.mask_token)
    network.encoder.neck.requires_grad_(False)
    return network


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm | ChannelNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, Attention):
        nn.init.zeros_(module.rel_pos_h)
        nn.init.zeros_(module.rel_pos_w)
    elif isinstance(module, ProjectionHead):
        nn.init.trunc_normal_(module.prototypes, std=0.02, generator=generator)
        nn.init.ones_(module.prototypes_length)
