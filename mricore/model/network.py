"""The network that student and teacher of DINOv2 share: encoder, image token, projection heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mricore.config.schema import Head, Model
from mricore.model.drop_path import DropPath
from mricore.model.encoder import build_encoder
from mricore.model.image_token import ImageToken
from mricore.model.initialise import initialise
from mricore.model.masked import MaskedPatches
from mricore.model.plain_encoder import PlainEncoder
from mricore.model.projection_head import ProjectionHead


@dataclass(frozen=True)
class Projections:
    """Outputs of one pass over a batch of b slices with L local crops; K prototypes, M masked patches."""

    image_logits: Tensor  # (2b, K): first global crop of all slices, then the second
    patch_logits: Tensor  # (M, K), in the order of MaskedPatches.index
    local_logits: Tensor | None  # (L * b, K), crop by crop
    image_tokens: Tensor  # (2b, dim)


class Network(nn.Module):
    """Everything that is trained. One forward call makes all projections, so that DDP sees one pass."""

    def __init__(self, model: Model, head: Head) -> None:
        super().__init__()
        self.encoder = build_encoder(model)
        self.token = ImageToken(model)
        self.head = ProjectionHead(model.dim, head)
        self.patch_head = None if head.shared else ProjectionHead(model.dim, head)
        self.mask_token = nn.Parameter(torch.empty(model.dim))

    def forward(
        self,
        globals_: Tensor,
        masked: MaskedPatches,
        locals_: Tensor | None,
        hide: bool,
        drop: tuple[DropPath | None, DropPath | None] = (None, None),
    ) -> Projections:
        """Project global crops (2b, 1, G, G), masked patches, and local crops (L * b, 1, S, S).

        With ``hide`` the masked patches are replaced by the mask token (student); without, the same patches
        are projected from the full view (teacher). ``drop`` is for global and local crops. The device is
        never waited for.
        """
        masks = masked.grid if hide else None
        image_tokens, patches = self._read(globals_, masks, drop[0], masked.index)
        images = [image_tokens]
        if locals_ is not None:
            images.append(self._read(locals_, None, drop[1], masked.index[:0])[0])
        logits, patch_logits = self._project(images, patches)
        return Projections(
            image_logits=logits[0],
            patch_logits=patch_logits,
            local_logits=None if locals_ is None else logits[1],
            image_tokens=image_tokens,
        )

    def _read(
        self, crops: Tensor, masks: Tensor | None, drop: DropPath | None, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Image tokens (B, dim) and the patches at ``index`` (M,), which are all that the losses look at.

        As a class token needs no other patch of the last block, the encoder makes none; any other readout
        is made of all patches.
        """
        given = (crops, masks, self.mask_token, drop)
        if isinstance(self.encoder, PlainEncoder) and self.token.readout == "class":
            return self.token.of_chosen(self.encoder.chosen(*given, index))
        image_tokens, patches = self.token(self.encoder(*given), masks)
        return image_tokens, patches.flatten(0, 1).index_select(0, index)

    def _project(self, images: list[Tensor], patches: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits of each batch of image tokens, and of patches; each head is called once."""
        parts = [*images, patches] if self.patch_head is None else images
        logits = list(self.head(torch.cat(parts)).split([len(part) for part in parts]))
        patch_logits = logits.pop() if self.patch_head is None else self.patch_head(patches)
        return logits, patch_logits


def build_network(model: Model, head: Head, generator: torch.Generator) -> Network:
    """A network with random weights; a pure function of settings and generator."""
    network = Network(model, head)
    initialise(network, generator)
    nn.init.zeros_(network.mask_token)
    return network
