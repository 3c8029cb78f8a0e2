"""Encoders of others as they are, behind the interface of ours, so that both are judged alike."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from mricore.config.schema import Normalization
from mricore.errors import UserError
from mricore.model.embedder import Embedder
from mricore.model.weights import Layout, LoadReport, load_into, read_weights, settings_of

Pixels = Literal["imagenet", "unit"]


def from_weights(
    path: Path,
    layout: Layout,
    image_size: int | None,
    *,
    normalization: Normalization = "slice",
    pixels: Pixels = "imagenet",
    compat: Literal["none", "sam"] | None = None,
    heads: int | None = None,
) -> tuple[Embedder, LoadReport]:
    """An encoder from a weight file, with the architecture that its tensors show, and what was loaded.

    It reads out by the class token, or by the mean of the patches where there is none; SAM has no final norm,
    so its patches are then normalised with unit weights. ``pixels`` tells what the encoder was trained on:
    grey values with ImageNet's statistics (SAM, DINOv2, MAE, MRI-CORE's training), or in [0, 1] (MedSAM).
    Without an ``image_size`` it is the one that the table of positions was made for.
    ``compat`` replaces ``model.compat``; ``heads`` is needed where the tensors do not show them.

    Raises:
        UserError: the file is missing, damaged or of another layout, or the size is no multiple of the patch.
    """
    weights = read_weights(path, layout)
    settings = settings_of(weights, heads)
    if compat is not None and settings.kind == "sam":
        settings = settings.model_copy(update={"compat": compat})
    size = image_size or settings.native_grid * settings.patch
    if size % settings.patch:
        raise UserError(
            f"image size {size} is no multiple of the patch {settings.patch}", "choose another size"
        )
    embedder = Embedder(settings.model_copy(update={"attention": "sdpa"}), size, normalization)
    embedder.token.norm.reset_parameters()
    report = load_into(embedder, weights, settings)
    if pixels == "unit":
        undo_input_norm(embedder)
    return embedder.eval(), report


def undo_input_norm(embedder: Embedder) -> None:
    """Fold the inverse of ImageNet's statistics into the patch embedding, exactly: no patch is padded."""
    mean, std = embedder.input_norm.mean, embedder.input_norm.std
    layer = embedder.encoder.patch_embed.proj
    with torch.no_grad():
        layer.get_parameter("bias").add_((layer.weight * mean).sum((1, 2, 3)))
        layer.weight.mul_(std)
