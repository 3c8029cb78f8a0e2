"""Weights of one kind of encoder as those of the other, as far as they mean the same."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mricore.config.schema import Model
from mricore.model.weights.positions import grid_of, on_grid, with_class_row
from mricore.model.weights.report import Note
from mricore.model.weights.tensors import Weights

POSITIONS = "encoder.pos_embed"
CLASS_TOKEN = "encoder.cls_token"  # noqa: S105 (a token of a network)
_RELATIVE = (".attn.rel_pos_h", ".attn.rel_pos_w")
_NECK = "encoder.neck."


def converted(weights: Weights, settings: Model) -> Weights:
    """Weights for an encoder of ``settings``: its positions on its grid, and nothing that it cannot hold."""
    if weights.kind == settings.kind == "sam" or POSITIONS not in weights.tensors:
        return weights
    without = _without_relative_positions_and_neck if weights.kind == "sam" else _without_class_token
    kept = weights if weights.kind == settings.kind else without(weights)
    return _with_positions_for(kept, settings)


def may_be_missing(name: str, weights: Weights, settings: Model) -> bool:
    """Whether weights of this kind have no tensor ``name`` for an encoder of ``settings``."""
    if weights.kind == settings.kind:
        return False
    if settings.kind == "plain":
        return name == CLASS_TOKEN
    return name.endswith(_RELATIVE) or name.startswith(_NECK)


def _without_relative_positions_and_neck(weights: Weights) -> Weights:
    """SAM -> plain."""
    tables = [name for name in weights.tensors if name.endswith(_RELATIVE)]
    neck = [name for name in weights.tensors if name.startswith(_NECK)]
    return _without(
        weights,
        [Note(name, "a plain encoder has no relative positions") for name in tables]
        + [Note(name, "a plain encoder has no neck") for name in neck],
    )


def _without_class_token(weights: Weights) -> Weights:
    """Plain -> SAM."""
    return _without(weights, [Note(CLASS_TOKEN, "SAM's encoder has no class token")])


def _without(weights: Weights, notes: list[Note]) -> Weights:
    names = {note.name for note in notes}
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name not in names}
    return replace(weights, tensors=tensors, dropped=(*weights.dropped, *notes))


def _with_positions_for(weights: Weights, settings: Model) -> Weights:
    table = weights.tensors[POSITIONS]
    grid = on_grid(table, settings.native_grid)
    changed, how = _row_of_class_token(grid, table, settings)
    if changed.shape == table.shape:
        return weights
    note = Note(POSITIONS, f"{tuple(table.shape)} to {tuple(changed.shape)}, {how}")
    return replace(
        weights,
        tensors={**weights.tensors, POSITIONS: changed},
        reshaped=(*weights.reshaped, note),
    )


def _row_of_class_token(grid: Tensor, table: Tensor, settings: Model) -> tuple[Tensor, str]:
    """The positions as the encoder stores them, and what was done, in words."""
    bicubic = "bicubic with antialias" if grid_of(table).shape[1] != settings.native_grid else "the same grid"
    if settings.kind == "sam":
        return grid, f"{bicubic}, without the class token's row"
    if table.ndim == 4:
        return with_class_row(grid), f"{bicubic}, and zeros as the class token's row"
    return with_class_row(grid, table[:, :1]), bicubic
