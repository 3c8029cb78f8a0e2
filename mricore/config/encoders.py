"""The encoders of the field as settings: SAM's three sizes (arXiv 2304.02643) and plain ViTs."""

from __future__ import annotations

from mricore.config.schema import Model


def sam_vit_b() -> Model:
    """SAM's ViT-B, 90 million parameters: the paper's."""
    return Model()


def sam_vit_l() -> Model:
    """SAM's ViT-L, 308 million parameters."""
    return Model(dim=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23))


def sam_vit_h() -> Model:
    """SAM's ViT-H, 637 million parameters."""
    return Model(dim=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31))


def sam_vit_s() -> Model:
    """SAM's architecture at the size of ViT-S; SAM itself has none so small."""
    return Model(dim=384, heads=6)


def plain_vit_b() -> Model:
    """The layout of the released MRI-CORE: DINOv2's ViT-B/16 at 224 px without LayerScale."""
    return Model(kind="plain", native_grid=14, readout="class")
