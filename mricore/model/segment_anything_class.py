"""Our encoder as segment_anything's own class, for everything of the field that is built on SAM.

``import segment_anything`` needs torchvision, its ``modeling`` package does not; behind a bare parent
module the latter loads alone. It is imported on demand: the encoder itself needs torch and numpy only.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from functools import partial
from typing import Any

from torch import nn

from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.blocks import NORM_EPS
from mricore.model.sam_encoder import SamEncoder
from mricore.model.weights import load_strictly

PACKAGE = "segment_anything"
MODELING = f"{PACKAGE}.modeling"


def modeling() -> Any:
    """The package ``segment_anything.modeling``, with or without torchvision.

    Raises:
        UserError: segment_anything is not installed.
    """
    if MODELING in sys.modules:
        return sys.modules[MODELING]
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.submodule_search_locations is None:
        raise UserError("segment_anything is not installed", "pip install segment-anything==1.0")
    parent = types.ModuleType(PACKAGE)
    parent.__path__ = list(found.submodule_search_locations)
    sys.modules[PACKAGE] = parent
    try:
        return importlib.import_module(MODELING)
    finally:
        del sys.modules[PACKAGE]  # a later import of the whole package is not our business


def image_encoder(settings: Model) -> nn.Module:
    """``segment_anything.modeling.ImageEncoderViT`` of the same shape, weights as its constructor makes them.

    It takes normalised images (B, 3, H, W) of its native size alone, ``native_grid * patch``, and returns
    features for SAM's mask decoder, (B, neck_dim, native_grid, native_grid).
    """
    encoder: nn.Module = modeling().ImageEncoderViT(
        img_size=settings.native_grid * settings.patch,
        patch_size=settings.patch,
        embed_dim=settings.dim,
        depth=settings.depth,
        num_heads=settings.heads,
        mlp_ratio=settings.mlp_ratio,
        out_chans=settings.neck_dim,
        norm_layer=partial(nn.LayerNorm, eps=NORM_EPS),
        use_rel_pos=True,
        window_size=settings.window,
        global_attn_indexes=settings.global_blocks,
    )
    return encoder


def as_segment_anything(encoder: SamEncoder, settings: Model) -> nn.Module:
    """The same encoder as Meta's class: all tensors have the same names and shapes, and all are copied."""
    twin = image_encoder(settings)
    load_strictly(twin, encoder.state_dict())
    return twin.requires_grad_(False).eval()
