"""What users of a trained encoder get: slices in, embeddings out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mricore.config.overrides import checked
from mricore.config.schema import Model, Normalization
from mricore.errors import UserError
from mricore.model.encoder import build_encoder
from mricore.model.image_token import ImageToken
from mricore.model.input_norm import InputNorm
from mricore.model.mae_network import MaeNetwork
from mricore.model.network import Network
from mricore.model.sam_encoder import SamEncoder
from mricore.model.segment_anything_class import as_segment_anything
from mricore.model.tokens import Tokens
from mricore.model.weights import load_strictly, read_tensors, write_tensors

SETTINGS = "embedder.json"
WEIGHTS = "embedder.safetensors"
FORMAT = 2
SLICES_PER_PASS = 32
PERCENTILE_SHARES = (0.005, 0.995)


class Embedder(nn.Module):
    """A frozen encoder with its preprocessing: normalisation as in training, resize, ImageNet statistics.

    ``normalization`` "slice" is min-max of each slice, "percentile" 0.5-99.5% of each slice; with "volume"
    slices must come scaled to [0, 1] by their volume, which a slice alone does not tell.
    """

    def __init__(self, settings: Model, image_size: int, normalization: Normalization) -> None:
        """``image_size`` is the side in pixels that slices are resized to; a multiple of the patch."""
        super().__init__()
        self.settings = settings
        self.image_size = image_size
        self.normalization = normalization
        self.input_norm = InputNorm()
        self.encoder = build_encoder(settings)
        self.token = ImageToken(settings)
        self.requires_grad_(False)

    @classmethod
    def from_network(
        cls,
        network: Network | MaeNetwork,
        settings: Model,
        image_size: int,
        normalization: Normalization = "slice",
    ) -> Embedder:
        """Copy encoder and image token of a network; the projection head stays behind.

        The attention backend was a choice for training; the embedder runs anywhere.
        """
        embedder = cls(settings.model_copy(update={"attention": "sdpa"}), image_size, normalization)
        kept = ("encoder.", "token.")
        tensors = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(kept)}
        load_strictly(embedder, tensors)
        return embedder.eval()

    def at_size(self, image_size: int) -> Embedder:
        """The same encoder for another input size, sharing the weights."""
        other = copy.copy(self)
        other.image_size = image_size
        return other

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Embedder:
        """Load what ``save`` wrote.

        Raises:
            UserError: the folder holds no encoder, or a damaged one.
        """
        try:
            document = json.loads((folder / SETTINGS).read_text())
            if document["format"] != FORMAT:
                raise UserError(f"{folder} has another format", "load it with the version that wrote it")
            size, normalization = document["image_size"], document["normalization"]
            if not isinstance(size, int) or normalization not in get_args(Normalization):
                raise ValueError
            embedder = cls(checked(Model, document["model"]), size, normalization)
            if size < 1 or size % embedder.settings.patch:
                raise ValueError
        except (OSError, LookupError, TypeError, ValueError):
            raise UserError(
                f"{folder} holds no mricore encoder", "give a folder that contains embedder.json"
            ) from None
        load_strictly(embedder, read_tensors(folder / WEIGHTS))
        return embedder.to(device).eval()

    def save(self, folder: Path) -> None:
        """Write settings and weights into an existing folder."""
        write_tensors(folder / WEIGHTS, self.state_dict(), {"format": "mricore-embedder"})
        document = {
            "format": FORMAT,
            "image_size": self.image_size,
            "normalization": self.normalization,
            "model": self.settings.model_dump(mode="json"),
        }
        (folder / SETTINGS).write_text(json.dumps(document, indent=1) + "\n")

    def as_segment_anything(self) -> nn.Module:
        """A copy of the encoder as ``segment_anything.modeling.ImageEncoderViT``, for SAM's decoder.

        Like any SAM encoder it takes normalised images (B, 3, H, W) of its native size alone.
        """
        return as_segment_anything(self._sam_encoder(), self.settings)

    def forward(self, images: ArrayLike | Tensor) -> NDArray[np.float32]:
        """Embed slices (N, H, W), (N, 1, H, W) or (H, W) of any numeric type: (N, dim) float32.

        Raises:
            UserError: another shape, values that are not finite, or not in [0, 1] where they must be.
        """
        parts = [self.token(tokens)[0] for tokens in self._tokens(images)]
        return torch.cat(parts).float().cpu().numpy()

    def dense(self, images: ArrayLike | Tensor) -> NDArray[np.float32]:
        """Patch features (N, h, w, dim) float32: before the neck, or after the norm of a plain encoder."""
        parts = [self.token.dense(tokens) for tokens in self._tokens(images)]
        return torch.cat(parts).float().cpu().numpy()

    def neck(self, images: ArrayLike | Tensor) -> NDArray[np.float32]:
        """Features for SAM's mask decoder: (N, neck_dim, h, w) float32.

        Raises:
            UserError: the encoder is a plain one, which has no neck.
        """
        encoder = self._sam_encoder()
        parts = [encoder.to_neck(tokens.grid) for tokens in self._tokens(images)]
        return torch.cat(parts).float().cpu().numpy()

    def resized(self, scaled: Tensor) -> Tensor:
        """Slices (N, 1, H, W) in [0, 1] as the encoder takes them: (N, 1, image_size, image_size)."""
        return F.interpolate(scaled, (self.image_size, self.image_size), mode="bilinear", antialias=True)

    def encoded(self, resized: Tensor) -> tuple[Tensor, Tensor]:
        """Of what ``resized`` made, embeddings (N, dim) and patch features (N, h, w, dim), in one pass."""
        tokens = self.encoder(self.input_norm(resized))
        return self.token(tokens)[0], self.token.dense(tokens)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.encoder.pos_embed.device

    def _sam_encoder(self) -> SamEncoder:
        if not isinstance(self.encoder, SamEncoder):
            raise UserError("a plain encoder has no neck and is no SAM encoder", "use dense() or an export")
        return self.encoder

    def _tokens(self, images: ArrayLike | Tensor) -> Iterator[Tokens]:
        slices = _as_slices(images)
        with torch.inference_mode():
            for part in slices.split(SLICES_PER_PASS):
                scaled = _normalized(part.to(self.device), self.normalization)
                yield self.encoder(self.input_norm(self.resized(scaled)))


def _as_slices(images: ArrayLike | Tensor) -> Tensor:
    """(N, 1, H, W) float32."""
    values: Any = images if isinstance(images, Tensor) else torch.from_numpy(np.asarray(images, np.float32))
    slices = values.float()
    if slices.ndim == 2:
        slices = slices[None, None]
    elif slices.ndim == 3:
        slices = slices[:, None]
    if slices.ndim != 4 or slices.shape[1] != 1 or 0 in slices.shape:
        raise UserError(f"slices of shape {tuple(values.shape)}", "give (N, H, W), (N, 1, H, W) or (H, W)")
    if not torch.isfinite(slices).all():
        raise UserError("slices contain NaN or infinity", "replace such pixels first")
    return slices


def _normalized(slices: Tensor, mode: Normalization) -> Tensor:
    """Slices (N, 1, H, W) in [0, 1]; a constant slice becomes 0."""
    if mode == "volume":
        if slices.min() < 0 or slices.max() > 1:
            raise UserError(
                "this encoder was trained on slices scaled by their volume", "scale them to 0..1 by volume"
            )
        return slices
    pixels = slices.flatten(1)
    if mode == "slice":
        low, high = pixels.amin(1), pixels.amax(1)
    else:
        low, high = (torch.quantile(pixels, share, dim=1) for share in PERCENTILE_SHARES)
    low, high = low.view(-1, 1, 1, 1), high.view(-1, 1, 1, 1)
    return ((slices - low) / torch.where(high > low, high - low, torch.ones_like(high))).clamp(0, 1)
