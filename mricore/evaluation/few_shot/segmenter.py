"""A frozen encoder that learns to segment: adapters inside, SAM's decoder behind."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mricore.config.few_shot import FewShot
from mricore.errors import UserError
from mricore.evaluation.contender import Contender
from mricore.model.adapters import (
    adapt_decoder,
    adapt_encoder,
    pad_before_norm,
    seeded,
    sharing,
    with_attention,
    without_relative_positions,
)
from mricore.model.compiling import compile_parts
from mricore.model.embedder import Embedder
from mricore.model.encoder import Encoder
from mricore.model.input_norm import InputNorm
from mricore.model.sam_decoder import DecoderShape, SamDecoder, load_decoder, shape_of
from mricore.model.sam_encoder import SamEncoder

RANDOM = "random"
"""How the origin of a contender without pretraining begins."""


class Neck(nn.Module):
    """Tokens of SAM's encoder -> maps for the decoder, through its own neck."""

    def __init__(self, neck: nn.Module) -> None:
        super().__init__()
        self.neck = neck

    def forward(self, grid: Tensor) -> Tensor:
        """(B, h, w, dim) -> (B, neck_dim, h, w)."""
        return self.neck(grid.permute(0, 3, 1, 2))


class Projection(nn.Module):
    """Tokens of a plain encoder -> maps for the decoder: final norm, one linear function, norm.

    A plain encoder comes without a neck. A 1x1 projection and a norm are the first half of SAM's.
    """

    def __init__(self, final_norm: nn.LayerNorm, dim: int) -> None:
        super().__init__()
        self.final_norm = final_norm
        self.linear = nn.Linear(final_norm.weight.shape[0], dim, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, h, w, dim) -> (B, decoder's dim, h, w)."""
        return self.norm(self.linear(self.final_norm(grid))).permute(0, 3, 1, 2)


class GreyNorm(nn.Module):
    """One channel in [0, 1] -> three, as they are."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 3, H, W)."""
        return images.expand(-1, 3, -1, -1)


class Leading(NamedTuple):
    """What the frozen blocks before the first that learns make of images, whatever the others learn."""

    tokens: Tensor
    grid: tuple[int, int]
    blocks: int
    """How many these are."""


class Segmenter(nn.Module):
    """Normalised images in, logits of classes out. Only what was added, or is asked for, has gradients."""

    def __init__(
        self,
        input_norm: InputNorm | GreyNorm,
        encoder: Encoder,
        bridge: nn.Module,
        decoder: SamDecoder,
        in_bfloat16: bool = False,
    ) -> None:
        """With ``in_bfloat16`` products are computed in it, as torch's autocast does; logits are float32."""
        super().__init__()
        self.in_bfloat16 = in_bfloat16
        self.input_norm = input_norm
        self.encoder = encoder
        self.bridge = bridge
        self.decoder = decoder

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) from ``input_norm`` -> logits (B, classes, 4 S / patch, 4 S / patch)."""
        with self._autocast(images.device):
            logits: Tensor = self.decoder(self.bridge(self.encoder(images).grid))
        return logits.float()

    def leading(self, images: Tensor) -> Leading:
        """The first part of ``forward``, which never changes."""
        blocks = self.frozen_blocks()
        with self._autocast(images.device):
            return Leading(*self.encoder.leading(images, blocks), blocks)

    def following(self, leading: Leading) -> Tensor:
        """The rest of ``forward``, with the same bits."""
        with self._autocast(leading.tokens.device):
            grid = self.encoder.following(*leading).grid
            logits: Tensor = self.decoder(self.bridge(grid))
        return logits.float()

    def frozen_blocks(self) -> int:
        """How many blocks come before the first that learns."""
        learns = [any(one.requires_grad for one in block.parameters()) for block in self.encoder.blocks]
        return learns.index(True) if True in learns else len(learns)

    def trained(self) -> dict[str, nn.Parameter]:
        """Parameters with gradients, by name."""
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, self.in_bfloat16)


def build_segmenter(contender: Contender, classes: int, settings: FewShot, seed: int) -> Segmenter:
    """A segmenter around a contender, whose tensors are shared and never changed.

    With SAM's decoder in the contender's file, adapters are trained, and mask tokens and hypernetworks
    (``train_tokens``). Without, decoder and neck begin at random and are trained whole, but for the
    baseline with ``handicapped_random``, of which adapters alone are trained. The projection of a plain
    encoder always is.

    Raises:
        UserError: the decoder of the file does not fit, the encoder has too few blocks for adapters, or
            kernels of attention need another device.
    """
    embedder = contender.embedder
    handicapped = settings.handicapped_random and contender.origin.startswith(RANDOM)
    encoder = sharing(embedder.encoder)
    device = encoder.pos_embed.device
    if settings.attention != "sdpa" and device.type != "cuda":
        raise UserError(f"few_shot.attention={settings.attention} needs a GPU", "use run.gpus=1, or sdpa")
    with_attention(encoder, settings.attention)
    if not settings.relative_positions:
        without_relative_positions(encoder)
    if settings.norm_after_padding:
        pad_before_norm(encoder)
    with seeded(seed):
        decoder = _decoder(contender, classes, settings, handicapped)
        bridge = _bridge(embedder, decoder, not contender.decoder and not handicapped)
        adapt_decoder(decoder, settings.adapter_ratio, settings.adapter_zero)
        adapt_encoder(
            encoder,
            settings.adapters_first,
            settings.adapters_last,
            settings.adapter_ratio,
            settings.adapter_zero,
        )
    norm = GreyNorm() if handicapped else embedder.input_norm
    if settings.compile:
        compile_parts([*encoder.blocks, decoder])
    return Segmenter(norm, encoder, bridge, decoder, settings.precision == "bfloat16").to(device)


def _decoder(contender: Contender, classes: int, settings: FewShot, handicapped: bool) -> SamDecoder:
    if contender.decoder:
        decoder = SamDecoder(shape_of(contender.decoder), classes)
        load_decoder(decoder, contender.decoder, keep_tokens=not settings.train_tokens)
    else:
        model = contender.embedder.settings
        decoder = SamDecoder(
            DecoderShape(model.neck_dim if model.kind == "sam" else DecoderShape.dim), classes
        )
    decoder.requires_grad_(False)
    trained: list[nn.Parameter] = []
    if not handicapped and not contender.decoder:
        trained = decoder.read_parameters()
    elif contender.decoder and settings.train_tokens:
        trained = decoder.class_parameters()
    for parameter in trained:
        parameter.requires_grad_(True)
    return decoder


def _bridge(embedder: Embedder, decoder: SamDecoder, trained: bool) -> nn.Module:
    """``trained`` is of SAM's neck, as a copy; a projection always is, since it begins at random."""
    width = decoder.prompt_encoder.embed_dim
    if not isinstance(embedder.encoder, SamEncoder):
        return Projection(sharing(embedder.token.norm), width)
    if embedder.settings.neck_dim != width:
        raise UserError(
            f"a neck of {embedder.settings.neck_dim} channels does not fit a decoder of {width}",
            "use a decoder of the encoder's width, or none",
        )
    neck = embedder.encoder.neck
    return Neck(copy.deepcopy(neck).requires_grad_(True) if trained else neck)
