"""SAM's prompt encoder and mask decoder (arXiv 2304.02643, appendix A) as a decoder of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mricore.errors import UserError
from mricore.model.segment_anything_class import modeling
from mricore.model.weights import LoadReport
from mricore.model.weights.report import Note
from mricore.model.weights.strict import misfits, refusal

HEADS = 8
SAM_OUTPUTS = 3
"""Masks of SAM's multimask output; its token 0 is the single mask, which is not read here."""
_TOKENS = "mask_decoder.mask_tokens.weight"
_QUALITY = "mask_decoder.iou_prediction_head.layers.2."
_HYPERNETWORKS = "mask_decoder.output_hypernetworks_mlps."
_UNREAD = (
    "prompt_encoder.point_embeddings.",
    "prompt_encoder.not_a_point_embed.",
    "prompt_encoder.mask_downscaling.",
    "mask_decoder.iou_prediction_head.",
    f"{_HYPERNETWORKS}0.",
)
_WIDTH = "prompt_encoder.no_mask_embed.weight"
_MLP = "mask_decoder.transformer.layers.0.mlp.lin1.weight"
_MASKS = "prompt_encoder.mask_downscaling.3.bias"


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder; those of SAM unless told otherwise."""

    dim: int = 256
    mlp_dim: int = 2048
    layers: int = 2
    mask_channels: int = 16


class SamDecoder(nn.Module):
    """Maps of an image encoder in, one logit map per class out.

    Parts and names of tensors are those of ``segment_anything``. There is a mask token and a hypernetwork for
    each class beside token 0. Predictions of mask quality are never made, though their tensors are kept.
    """

    def __init__(self, shape: DecoderShape, classes: int) -> None:
        """Random weights from torch's global generator, as its constructors make them: see ``seeded``.

        Raises:
            UserError: the width cannot be cut into heads, or segment_anything is not installed.
        """
        super().__init__()
        if shape.dim % (2 * HEADS):
            raise UserError(f"a decoder of {shape.dim} channels", f"use a multiple of {2 * HEADS}")
        parts = modeling()
        unused = (1, 1)  # sizes of prompts: there are none, and positions are asked for by the grid
        self.prompt_encoder = parts.PromptEncoder(shape.dim, unused, unused, shape.mask_channels)
        transformer = parts.TwoWayTransformer(shape.layers, shape.dim, HEADS, shape.mlp_dim)
        self.mask_decoder = parts.MaskDecoder(
            transformer_dim=shape.dim, transformer=transformer, num_multimask_outputs=classes
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, dim, h, w) of B images -> logits (B, classes, 4 h, 4 w).

        segment_anything decodes one image with many prompts; this is the same for many images without any.
        """
        decoder = self.mask_decoder
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(len(maps), -1, -1)
        source = maps + self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        places = self.prompt_encoder.pe_layer(tuple(maps.shape[2:])).expand(len(maps), -1, -1, -1)
        tokens, source = decoder.transformer(source, places, tokens)
        pixels = decoder.output_upscaling(source.transpose(1, 2).unflatten(2, maps.shape[2:]))
        hypernetworks = list(decoder.output_hypernetworks_mlps)[1:]
        weights = torch.stack([one(tokens[:, 2 + k]) for k, one in enumerate(hypernetworks)], 1)
        return (weights @ pixels.flatten(2)).unflatten(2, pixels.shape[2:])

    def read_parameters(self) -> list[nn.Parameter]:
        """All that ``forward`` reads: what remains is for prompts, mask quality and the single mask."""
        return [one for name, one in self.named_parameters() if not name.startswith(_UNREAD)]

    def class_parameters(self) -> list[nn.Parameter]:
        """Mask tokens and hypernetworks: what turns the decoder to the classes of a task."""
        decoder = self.mask_decoder
        hypernetworks = list(decoder.output_hypernetworks_mlps)[1:]
        parameters = (one for network in hypernetworks for one in network.parameters())
        return [decoder.mask_tokens.weight, *parameters]


def shape_of(tensors: Mapping[str, Tensor]) -> DecoderShape:
    """The sizes that SAM's tensors show.

    Raises:
        UserError: these are not the tensors of a SAM decoder.
    """
    missing = [f"{name} is missing" for name in (_WIDTH, _MLP, _MASKS) if name not in tensors]
    if missing:
        raise refusal("the decoder does not fit", missing, "use a file in the layout of SAM")
    layers = {name.split(".")[3] for name in tensors if name.startswith("mask_decoder.transformer.layers.")}
    return DecoderShape(
        dim=tensors[_WIDTH].shape[1],
        mlp_dim=tensors[_MLP].shape[0],
        layers=len(layers),
        mask_channels=tensors[_MASKS].shape[0],
    )


def load_decoder(decoder: SamDecoder, tensors: Mapping[str, Tensor], keep_tokens: bool = False) -> LoadReport:
    """SAM's tensors into a decoder, strictly by name; class k begins as output 1 + (k mod 3) of SAM.

    With ``keep_tokens`` mask tokens and the last layer for mask quality stay as initialised, which is what
    the published few-shot code is left with after it failed to load SAM's four tokens into two places.

    Raises:
        UserError: a tensor is missing, of another shape, or unexplained.
    """
    wanted = decoder.state_dict()
    outputs = len(wanted[_TOKENS])
    given = _for_classes(tensors, [0, *(1 + k % SAM_OUTPUTS for k in range(outputs - 1))])
    kept = tuple(name for name in wanted if keep_tokens and name.startswith((_TOKENS, _QUALITY)))
    given = {name: tensor for name, tensor in given.items() if name not in kept}
    problems = [f"{name} is missing" for name in wanted if name not in given and name not in kept]
    problems += misfits(given, wanted)
    if problems:
        raise refusal("the decoder does not fit", problems, "use a file in the layout of SAM")
    decoder.load_state_dict({**wanted, **given})
    why = "outputs are chosen by class"
    chosen = tuple(name for name in given if outputs != SAM_OUTPUTS + 1 and _of_outputs(name))
    return LoadReport(
        loaded=tuple(name for name in given if name not in chosen),
        reshaped=tuple(Note(name, why) for name in chosen),
        dropped=tuple(Note(name, why) for name in tensors if name not in given and name not in kept),
        kept=kept,
    )


def _for_classes(tensors: Mapping[str, Tensor], outputs: list[int]) -> dict[str, Tensor]:
    """Rows and hypernetworks of the outputs that classes begin as; other tensors as they are."""
    given: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(_HYPERNETWORKS):
            source, _, rest = name.removeprefix(_HYPERNETWORKS).partition(".")
            places = [place for place, output in enumerate(outputs) if str(output) == source]
            given |= {f"{_HYPERNETWORKS}{place}.{rest}": tensor for place in places}
        elif name.startswith((_TOKENS, _QUALITY)) and len(tensor) > max(outputs):
            given[name] = tensor[outputs]
        else:
            given[name] = tensor
    return given


def _of_outputs(name: str) -> bool:
    return name.startswith((_TOKENS, _QUALITY, _HYPERNETWORKS))
