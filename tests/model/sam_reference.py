"""Meta's own classes as a reference, reached without torchvision.

``import segment_anything`` needs torchvision, its ``modeling`` package does not; a bare parent module
lets the latter load alone.
"""

import importlib.machinery
import importlib.util
import sys
import types
from functools import partial

import torch


def sam_modeling():
    """The package ``segment_anything.modeling``."""
    if "segment_anything" not in sys.modules:
        spec = importlib.util.find_spec("segment_anything")
        parent = types.ModuleType("segment_anything")
        parent.__path__ = list(spec.submodule_search_locations)
        parent.__spec__ = importlib.machinery.ModuleSpec("segment_anything", None, is_package=True)
        sys.modules["segment_anything"] = parent
    return importlib.import_module("segment_anything.modeling")


def sam_encoder(settings):
    """Meta's image encoder with the settings of ours, random everywhere (also positions)."""
    torch.manual_seed(0)  # the constructor draws from the global generator
    encoder = sam_modeling().ImageEncoderViT(
        img_size=settings.native_grid * settings.patch,
        patch_size=settings.patch,
        embed_dim=settings.dim,
        depth=settings.depth,
        num_heads=settings.heads,
        mlp_ratio=settings.mlp_ratio,
        out_chans=settings.neck_dim,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=settings.window,
        global_attn_indexes=settings.global_blocks,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return encoder.eval()
