"""From the names of DINOv2, MAE and timm to ours: chunks, ``fc``, LayerScale, heads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from mricore.errors import UserError
from mricore.model.weights.names import renamed
from mricore.model.weights.report import Note

_CHUNK = re.compile(r"^blocks\.\d+\.(?=\d+\.)")
_HEAD_LAYER = re.compile(r"^mlp\.(\d+)\.(weight|bias)$")
_HEADS = {"dino_head.": "head.", "ibot_head.": "patch_head."}
_PROTOTYPES = {
    "last_layer.weight_v": "prototypes",
    "last_layer.weight_g": "prototypes_length",
    "last_layer.parametrizations.weight.original1": "prototypes",
    "last_layer.parametrizations.weight.original0": "prototypes_length",
}
_SCALED = {"ls1.gamma": "attn.proj", "ls2.gamma": "mlp.lin2"}


class Named(NamedTuple):
    """Tensors under our names, and what was folded and reshaped for it."""

    tensors: dict[str, Tensor]
    folded: tuple[Note, ...]
    reshaped: tuple[Note, ...]


def from_vit(content: Mapping[str, Tensor], prefix: str = "") -> Named:
    """Rename the tensors of a plain ViT; ``prefix`` is what its encoder's names may carry in the file.

    LayerScale (arXiv 2103.17239) multiplies the output of a residual branch, so it is folded exactly into
    the last linear layer of the branch.

    Raises:
        UserError: it has parts that the plain encoder has not, or two tensors of one name.
    """
    _refuse_other_architectures(content)
    tensors = renamed(content, lambda name: our_name(name.removeprefix(prefix)))
    scales = [name for name in tensors if name.endswith(tuple(_SCALED))]
    for name in scales:
        fold_layer_scale(tensors, name)
    folded = tuple(Note(name, "LayerScale times the layer before it") for name in scales)
    reshaped = []
    if "mask_token" in tensors:
        tensors["mask_token"] = tensors["mask_token"].flatten()
        reshaped.append(Note("mask_token", "(1, dim) to (dim,)"))
    return Named(tensors, folded, tuple(reshaped))


def our_name(name: str) -> str:
    """The name in ``Network`` for a name of DINOv2's or MAE's; LayerScale keeps a name of its own."""
    for theirs, ours in _HEADS.items():
        if name.startswith(theirs):
            return ours + _head_name(name.removeprefix(theirs))
    if name == "mask_token":
        return name
    if name.startswith("norm."):
        return f"token.{name}"
    return "encoder." + _CHUNK.sub("blocks.", name).replace(".mlp.fc", ".mlp.lin")


def fold_layer_scale(tensors: dict[str, Tensor], name: str) -> None:
    """Multiply the rows of the layer that ``name`` scales, and remove ``name``."""
    gamma = tensors.pop(name)
    block, part, _ = name.rsplit(".", 2)
    layer = f"{block}.{_SCALED[f'{part}.gamma']}"
    if f"{layer}.weight" not in tensors or f"{layer}.bias" not in tensors:
        raise UserError(f"{name} scales a layer that the file has not", "choose the layout that it has")
    tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"] * gamma[:, None]
    tensors[f"{layer}.bias"] = tensors[f"{layer}.bias"] * gamma


def _head_name(name: str) -> str:
    """``mlp.0, mlp.2, ...`` (with GELU between) or a single ``mlp`` -> ``layers.0, layers.1, ...``."""
    if found := _HEAD_LAYER.match(name):
        return f"layers.{int(found[1]) // 2}.{found[2]}"
    return _PROTOTYPES.get(name, name.replace("mlp.", "layers.0.") if name.startswith("mlp.") else name)


def _refuse_other_architectures(content: Mapping[str, Tensor]) -> None:
    if any("register_tokens" in name for name in content):
        raise UserError(
            "this file has register tokens, which no encoder of mricore has",
            "use the file without registers, e.g. dinov2_vitb14_pretrain.pth",
        )
    if any(".mlp.w12." in name for name in content):
        raise UserError(
            "this file has SwiGLU layers (ViT-g), which no encoder of mricore has",
            "use ViT-S, ViT-B or ViT-L",
        )
