"""The network of masked autoencoding: an encoder that sees some patches, a decoder that predicts the rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mricore.config.schema import Mae, Model
from mricore.model.encoder import build_encoder
from mricore.model.image_token import ImageToken
from mricore.model.initialise import initialise
from mricore.model.mae_decoder import MaeDecoder


@dataclass(frozen=True)
class Reconstruction:
    """Outputs of one pass over b crops with m hidden patches each."""

    patches: Tensor  # (b, m, patch * patch)
    image_tokens: Tensor  # (b, dim), read out of the visible patches


class MaeNetwork(nn.Module):
    """Masked autoencoder (arXiv 2111.06377) on one of our encoders; the decoder is for training alone."""

    def __init__(self, model: Model, mae: Mae) -> None:
        super().__init__()
        self.patch = model.patch
        self.encoder = build_encoder(model)
        self.token = ImageToken(model)
        self.decoder = MaeDecoder(model, mae)

    def forward(self, crops: Tensor, keep: Tensor, hidden: Tensor) -> Reconstruction:
        """Predict the hidden patches of crops (b, 1, G, G).

        ``keep`` (b, n) and ``hidden`` (b, m) are row-major places of patches. Crops are grey, so one channel
        is predicted. The device is never waited for.
        """
        seen = self.encoder.visible(crops, keep)
        image_tokens, patches = self.token.of_visible(seen)
        class_token = None if seen.class_token is None else self.token.norm(seen.class_token)
        grid = (crops.shape[2] // self.patch, crops.shape[3] // self.patch)
        return Reconstruction(self.decoder(patches, class_token, keep, hidden, grid), image_tokens)


def build_mae_network(model: Model, mae: Mae, generator: torch.Generator) -> MaeNetwork:
    """A network with random weights; a pure function of settings and generator."""
    network = MaeNetwork(model, mae)
    initialise(network, generator)
    return network
