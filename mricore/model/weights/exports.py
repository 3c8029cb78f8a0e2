"""Our encoder as files that others load without changing their code (docs/weights.md).

Each format is a pure function from an encoder to the content of a file, and what its user should know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from mricore.config.encoders import sam_vit_b, sam_vit_h, sam_vit_l
from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.embedder import Embedder
from mricore.model.weights.positions import grid_of, on_grid, with_class_row

Format = Literal["sam", "mri_foundation", "dinov2"]
Base = Mapping[str, Tensor]

SAM_GRID = 64
STOCK_SIZE = 224
"""Pixels of the images that DINOv2 is trained on."""
DECODER = ("prompt_encoder.", "mask_decoder.")
NECK = "image_encoder.neck."
_BLOCKS = ("patch_embed.", "blocks.")
_RELATIVE = (".attn.rel_pos_h", ".attn.rel_pos_w")
_POSITIONS = "encoder.pos_embed"
_META = {"vit_b": sam_vit_b(), "vit_l": sam_vit_l(), "vit_h": sam_vit_h()}
_SIZE = ("dim", "depth", "heads", "mlp_ratio", "patch")
_SAM_SIZE = (*_SIZE, "native_grid", "window", "global_blocks", "neck_dim")


@dataclass(frozen=True)
class Export:
    """What goes into the file, tensors or dictionaries of tensors, and lines for its user."""

    content: Mapping[str, Any]
    notes: tuple[str, ...]


def sam(embedder: Embedder, base: Base | None) -> Export:
    """A SAM file: our encoder with neck, prompt encoder and mask decoder of ``base``.

    Raises:
        UserError: the encoder is a plain one, ``base`` is missing, or its decoder takes other channels.
    """
    settings = embedder.settings
    if settings.kind != "sam":
        raise UserError(
            "a SAM file needs relative positions and a neck, which a plain encoder has not", _advice(settings)
        )
    if base is None:
        raise UserError(
            "a SAM file also holds SAM's prompt encoder and mask decoder, which come from a SAM file",
            "add --base sam_vit_b_01ec64.pth (docs/weights.md tells where to get it)",
        )
    if base[f"{NECK}0.weight"].shape[0] != settings.neck_dim:
        raise UserError(
            f"the base's decoder does not take the {settings.neck_dim} channels of our neck",
            "give a base whose neck has as many",
        )
    encoder = {f"image_{name}": tensor for name, tensor in _encoder(embedder).items()}
    decoder = {name: tensor for name, tensor in base.items() if name.startswith(DECODER)}
    name = name_in_sam(settings)
    loader = f"segment_anything's {name}" if name else "a segment_anything.modeling.Sam of these sizes"
    notes = (
        f"{len(encoder)} tensors of the encoder, {len(decoder)} of prompt encoder and mask decoder",
        f"loads strictly in {loader}",
    )
    return Export({**encoder, **decoder}, notes)


def mri_foundation(embedder: Embedder, base: Base | None) -> Export:
    """A file that MRI-CORE's own code (github.com/mazurowski-lab/mri_foundation) loads whole.

    Its loader takes a dictionary under ``teacher``, strips ``backbone.``, and resamples positions behind a
    class token's row, which it finds again only under their final name.

    Raises:
        UserError: that code builds no encoder of this size.
    """
    settings = embedder.settings
    name = name_in_mri_foundation(settings)
    if name is None:
        raise UserError(
            f"mri_foundation builds no encoder {settings.dim} wide with {settings.depth} blocks and "
            f"patches of {settings.patch}",
            f"it builds ViT-B/16 and ViT-L/16; {_advice(settings)}",
        )
    tensors = {name.removeprefix("encoder."): tensor for name, tensor in _encoder(embedder).items()}
    positions = tensors["pos_embed"]
    blocks = {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith(_BLOCKS) and not name.endswith(_RELATIVE)
    }
    neck, neck_note = _neck(tensors, base, settings)
    teacher = {f"backbone.{name}": tensor for name, tensor in {**blocks, **neck}.items()}
    teacher["image_encoder.pos_embed"] = with_class_row(on_grid(positions, SAM_GRID))
    left_out = "relative positions" if settings.kind == "sam" else "class token and final norm"
    notes = (
        f"{len(teacher)} tensors, which its loader puts into its {name}",
        _positions_note(positions, SAM_GRID),
        neck_note,
        f"its encoder has no {left_out}: they are left out, and its features differ from ours",
    )
    return Export({"teacher": teacher}, notes)


def dinov2(embedder: Embedder, base: Base | None = None) -> Export:
    """A teacher as DINOv2's training writes it, with the names that timm's plain ViTs share.

    Raises:
        UserError: the encoder is SAM's, or its patches do not tile 224 px.
    """
    settings = embedder.settings
    if settings.kind != "plain":
        raise UserError(
            "SAM's encoder has relative positions and windows, which a plain ViT cannot hold",
            _advice(settings),
        )
    if not _tiles(settings):
        raise UserError(f"patches of {settings.patch} px do not tile {STOCK_SIZE} px", _advice(settings))
    tensors = _encoder(embedder)
    side, positions = STOCK_SIZE // settings.patch, tensors[_POSITIONS]
    tensors[_POSITIONS] = with_class_row(on_grid(positions, side), positions[:, :1])
    norm = {f"norm.{name}": tensor for name, tensor in embedder.token.norm.state_dict().items()}
    stock = {
        name.removeprefix("encoder.").replace(".mlp.lin", ".mlp.fc"): tensor
        for name, tensor in tensors.items()
    }
    teacher = {f"backbone.{name}": tensor for name, tensor in {**stock, **norm}.items()}
    notes = (
        f"{len(teacher)} tensors under 'teacher', with the prefix 'backbone.', without mask token and head",
        _positions_note(positions, side),
    )
    return Export({"teacher": teacher}, notes)


FORMATS: Mapping[Format, Callable[[Embedder, Base | None], Export]] = {
    "sam": sam,
    "mri_foundation": mri_foundation,
    "dinov2": dinov2,
}


def _advice(settings: Model) -> str:
    """The formats that can hold such an encoder."""
    fits = {
        "sam": settings.kind == "sam",
        "mri_foundation": name_in_mri_foundation(settings) is not None,
        "dinov2": settings.kind == "plain" and _tiles(settings),
    }
    fitting = [name for name, holds in fits.items() if holds]
    return f"export it as {' or '.join(fitting)}" if fitting else "no format can hold it: use mricore.load"


def _tiles(settings: Model) -> bool:
    return STOCK_SIZE % settings.patch == 0


def name_in_sam(settings: Model) -> str | None:
    """What segment_anything calls a SAM of this encoder; None if it has no name for it."""
    return _meta_name(settings, _SAM_SIZE)


def name_in_mri_foundation(settings: Model) -> str | None:
    """What mri_foundation calls an encoder of this size; None if it builds none."""
    name = _meta_name(settings, (*_SIZE, "neck_dim"))
    return name if name in ("vit_b", "vit_l") else None


def _encoder(embedder: Embedder) -> dict[str, Tensor]:
    return {f"encoder.{name}": tensor for name, tensor in embedder.encoder.state_dict().items()}


def _neck(ours: Mapping[str, Tensor], base: Base | None, settings: Model) -> tuple[dict[str, Tensor], str]:
    """The neck for mri_foundation, and where it is from, in words."""
    own = {name: tensor for name, tensor in ours.items() if name.startswith("neck.")}
    if own:
        return own, "the neck is the encoder's own"
    if base is None:
        return {}, "no neck: its loader leaves it SAM's (pretrained_sam=True) or random; --base gives one"
    channels = tuple(base[f"{NECK}0.weight"].shape[:2])
    if channels != (settings.neck_dim, settings.dim):
        raise UserError(
            f"the base's neck takes {channels[1]} channels, the encoder has {settings.dim}",
            "give a SAM file of the encoder's size",
        )
    taken = {f"neck.{name.removeprefix(NECK)}": base[name] for name in base if name.startswith(NECK)}
    return taken, "the neck is the base's"


def _positions_note(positions: Tensor, side: int) -> str:
    native = grid_of(positions).shape[1]
    how = "as they are" if native == side else f"from {native} x {native}, bicubic with antialias"
    return f"positions of {side} x {side} patches, {how}"


def _meta_name(settings: Model, names: tuple[str, ...]) -> str | None:
    """The size of SAM's that equals ``settings`` in ``names``."""
    for meta, sizes in _META.items():
        if all(getattr(settings, name) == getattr(sizes, name) for name in names):
            return meta
    return None
