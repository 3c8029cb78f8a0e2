"""How others load an export: a few lines of Python for each project, to be run there as they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mricore.config.schema import Model
from mricore.model.weights.exports import STOCK_SIZE, Format, name_in_mri_foundation, name_in_sam

_WIDTHS = {
    (192, 12, 3): "tiny",
    (384, 12, 6): "small",
    (768, 12, 12): "base",
    (1024, 24, 16): "large",
}
"""Width, depth and heads of the ViTs that timm and DINOv2 have names for."""
_IMAGES = "grey slices in 0..1, three equal channels, ImageNet's mean and std"


@dataclass(frozen=True)
class Snippet:
    """``code`` defines ``model`` with the weights of the file; ``project`` must be there to run it."""

    project: str
    code: str


def snippets(format_: Format, settings: Model, file: Path) -> list[Snippet]:
    """Code that loads ``file``, an export of an encoder of these settings; none where others have no name."""
    path = json.dumps(str(file.absolute()))
    if format_ == "sam":
        return _sam(settings, path)
    if format_ == "mri_foundation":
        return _mri_foundation(settings, path)
    return [_timm(settings, path), *_dinov2(settings, path)]


def _sam(settings: Model, path: str) -> list[Snippet]:
    name = name_in_sam(settings)
    if name is None:
        return []
    side = settings.native_grid * settings.patch
    code = f"""\
from segment_anything import sam_model_registry

model = sam_model_registry["{name}"](checkpoint={path})  # strict: every tensor is loaded
# model.image_encoder(images), images (B, 3, {side}, {side}): {_IMAGES}
"""
    return [Snippet("segment_anything", code)]


def _mri_foundation(settings: Model, path: str) -> list[Snippet]:
    code = f"""\
# in a checkout of github.com/mazurowski-lab/mri_foundation, with a GPU: its loader reads files onto one
import sys

import cfg
from models.sam import sam_model_registry

sys.argv = sys.argv[:1]  # it takes its settings from the command line
args = cfg.parse_args()
args.if_encoder_adapter = args.if_mask_decoder_adapter = False
model = sam_model_registry["{name_in_mri_foundation(settings)}"](
    args, checkpoint={path}, num_classes=args.num_cls, image_size=1024, pretrained_sam=False
)
# model.image_encoder(images), images (B, 3, 1024, 1024): {_IMAGES}
"""
    return [Snippet("mri_foundation", code)]


def _teacher(path: str) -> str:
    return f"""\
teacher = torch.load({path}, map_location="cpu", weights_only=True)["teacher"]
weights = {{name.removeprefix("backbone."): tensor for name, tensor in teacher.items()}}
"""


def _timm(settings: Model, path: str) -> Snippet:
    size = _name(settings)
    if size and settings.patch == 16:
        made = f'timm.create_model("vit_{size}_patch16_{STOCK_SIZE}", num_classes=0)'
    else:
        made = (
            f"timm.models.VisionTransformer(\n    img_size={STOCK_SIZE}, patch_size={settings.patch}, "
            f"embed_dim={settings.dim}, depth={settings.depth}, num_heads={settings.heads}, "
            f"mlp_ratio={settings.mlp_ratio:g}, num_classes=0\n)"
        )
    code = f"""\
import timm
import torch

{_teacher(path)}model = {made}
model.load_state_dict(weights, strict=True)
model.eval()
# model(images), images (B, 3, {STOCK_SIZE}, {STOCK_SIZE}): {_IMAGES}
"""
    return Snippet("timm", code)


def _dinov2(settings: Model, path: str) -> list[Snippet]:
    size = _name(settings)
    if size in (None, "tiny"):
        return []
    code = f"""\
# in a checkout of github.com/facebookresearch/dinov2
import torch
from dinov2.models.vision_transformer import vit_{size}

{_teacher(path)}model = vit_{size}(img_size={STOCK_SIZE}, patch_size={settings.patch}, block_chunks=0)
missing, unexpected = model.load_state_dict(weights, strict=False)
assert (missing, unexpected) == (["mask_token"], [])  # which is for training alone
model.eval()
# model(images), images (B, 3, {STOCK_SIZE}, {STOCK_SIZE}): {_IMAGES}
"""
    return [Snippet("dinov2", code)]


def _name(settings: Model) -> str | None:
    if settings.mlp_ratio != 4:
        return None
    return _WIDTHS.get((settings.dim, settings.depth, settings.heads))
