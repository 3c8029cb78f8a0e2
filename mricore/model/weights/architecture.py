"""The architecture of weights, read off their tensors, and compared with settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.weights.positions import grid_of
from mricore.model.weights.tensors import Weights

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1536: 24}
"""Heads of the ViT family by width (arXiv 2010.11929, 2012.12877, 2111.06377), which shapes do not show."""
_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.")
_SHARED = ("dim", "depth", "heads", "mlp_ratio", "patch")
_SAM_ONLY = ("native_grid", "window", "global_blocks", "neck_dim")


def settings_of(weights: Weights, heads: int | None = None) -> Model:
    """The settings of the encoder that the weights belong to.

    Those stored with the weights; else what the tensors show, and as readout the class token, or the mean
    where there is none. ``heads`` is needed for a plain encoder whose width is not one of the ViT family.

    Raises:
        UserError: a tensor that tells the architecture is missing, or the heads cannot be told.
    """
    if weights.settings is not None:
        return weights.settings
    values = shown_settings(weights)
    values.setdefault("heads", heads or HEADS.get(values["dim"]))
    if values["heads"] is None:
        raise UserError(
            f"the heads of a plain encoder of width {values['dim']} do not show in its weights", "give heads"
        )
    if weights.kind == "sam" and "window" not in values:
        values |= {"window": values["native_grid"], "global_blocks": tuple(range(values["depth"]))}
    readout = "class" if weights.kind == "plain" else "mean"
    return Model.model_validate({**values, "kind": weights.kind, "readout": readout})


def require_same_architecture(weights: Weights, settings: Model) -> None:
    """Compare what must be equal for the tensors to mean the same in an encoder of ``settings``.

    Raises:
        UserError: settings differ; the line gives those of the file as ``--set`` arguments.
    """
    found = shown_settings(weights) if weights.settings is None else weights.settings.model_dump()
    if found.get("heads") is None:
        found["heads"] = HEADS.get(found["dim"], settings.heads)
    names = _SHARED + (_SAM_ONLY if weights.kind == settings.kind == "sam" else ())
    other = [name for name in names if name in found and not _equal(name, found[name], settings)]
    if other:
        told = " ".join(
            f"--set model.{name}={json.dumps(found[name], separators=(',', ':'))}" for name in other
        )
        raise UserError(
            f"{weights.source} holds an encoder of other settings", f"use {told}{_on_crops(other, found)}"
        )


def _on_crops(other: Sequence[str], found: Mapping[str, Any]) -> str:
    """What another patch means for the crops, which the schema would refuse next."""
    if "patch" not in other:
        return ""
    names = "augment.global_size, augment.local_size and those of augment.stages"
    return f"; crop sizes ({names}) must then be multiples of {found['patch']}"


def shown_settings(weights: Weights) -> dict[str, Any]:
    """Settings that show in the shapes of the tensors: all but the heads of a plain encoder.

    Raises:
        UserError: a tensor that tells the architecture is missing.
    """
    tensors = weights.tensors
    patch_embed = _tensor(tensors, "encoder.patch_embed.proj.weight")
    dim = patch_embed.shape[0]
    values: dict[str, Any] = {
        "dim": dim,
        "depth": 1 + max((int(found[1]) for name in tensors if (found := _BLOCK.match(name))), default=-1),
        "mlp_ratio": _tensor(tensors, "encoder.blocks.0.mlp.lin1.weight").shape[0] / dim,
        "patch": patch_embed.shape[2],
        "native_grid": grid_of(_tensor(tensors, "encoder.pos_embed")).shape[1],
    }
    if weights.kind == "sam":
        values["heads"] = dim // _tensor(tensors, "encoder.blocks.0.attn.rel_pos_h").shape[1]
        values["neck_dim"] = _tensor(tensors, "encoder.neck.0.weight").shape[0]
        values |= _windows(tensors, values["native_grid"])
    return values


def _windows(tensors: Mapping[str, Tensor], native: int) -> dict[str, Any]:
    """Window and global blocks; nothing where all tables of relative positions have the native size.

    A table has 2 * side - 1 rows, and side is a window's or the native grid's.
    """
    sides = {
        int(_BLOCK.findall(name)[0]): (table.shape[0] + 1) // 2
        for name, table in tensors.items()
        if name.endswith(".attn.rel_pos_h")
    }
    windows = {side for side in sides.values() if side != native}
    if not windows:
        return {}
    global_blocks = tuple(sorted(block for block, side in sides.items() if side == native))
    return {"window": min(windows), "global_blocks": global_blocks}


def _equal(name: str, found: Any, settings: Model) -> bool:
    wanted = getattr(settings, name)
    if name == "mlp_ratio":  # the layer's width is rounded down
        return int(found * settings.dim) == int(wanted * settings.dim)
    if name == "global_blocks":
        return set(found) == set(wanted)
    return bool(found == wanted)


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise UserError(f"the weights do not fit: {name} is missing", "fetch the file again")
    return tensors[name]
