"""The layouts of weight files that others publish, and our own, read into our names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mricore.errors import UserError
from mricore.model.weights.files import read_content
from mricore.model.weights.hints import likely_layout
from mricore.model.weights.known import verified
from mricore.model.weights.names import in_float32, renamed
from mricore.model.weights.own_files import is_own, read_own
from mricore.model.weights.report import Note
from mricore.model.weights.strict import refusal
from mricore.model.weights.tensors import Layout, Weights
from mricore.model.weights.vit_names import from_vit

Dropped = tuple[Note, ...]
SAM_PREFIX = "image_encoder."
_SAM_DECODER = ("prompt_encoder.", "mask_decoder.")


def read_weights(path: Path, layout: Layout) -> Weights:
    """Read a weight file, or a folder of ours, into our names and float32.

    What cannot be decided without the network that they go into is decided by ``load_into``.

    Raises:
        UserError: the file is missing, damaged, another than its name says, or not of this layout.
    """
    if layout == "mricore":
        own = read_own(path)
        source, digest = f"weights {own.path} ({layout})", verified(own.path)
        return Weights(source, layout, in_float32(own.tensors), own.settings, (), (), own.dropped, digest)
    _refuse_folder(path, layout)
    digest = verified(path)
    return replace(_READERS[layout](read_content(path), f"weights {path} ({layout})"), digest=digest)


def _refuse_folder(path: Path, layout: Layout) -> None:
    if is_own(path):
        raise UserError(
            f"{path} is a folder that mricore wrote; layout {layout} wants a file",
            "choose the layout mricore",
        )
    if path.is_dir():
        raise UserError(
            f"{path} is a folder; layout {layout} wants a file, mricore a folder", "give the file in it"
        )


def _sam(content: Mapping[str, Any], source: str) -> Weights:
    """SAM (arXiv 2304.02643) and MedSAM (arXiv 2304.12306)."""
    flat, dropped = unwrapped(content, ("model",))
    encoder, others = split(flat, lambda name: name.startswith(_SAM_DECODER))
    dropped += tuple(Note(name, "SAM's prompt encoder and mask decoder") for name in others)
    tensors = renamed(encoder, sam_name)
    return Weights(source, "sam", tensors, dropped=dropped)


def sam_name(name: str) -> str:
    """``image_encoder.X`` -> ``encoder.X``; other names stay, and are nobody's."""
    return f"encoder.{name.removeprefix(SAM_PREFIX)}" if name.startswith(SAM_PREFIX) else name


def _mri_core(content: Mapping[str, Any], source: str) -> Weights:
    """The released MRI-CORE (arXiv 2506.12186), and any teacher of DINOv2's training code."""
    flat, dropped = unwrapped(content, ("model", "teacher", "student"))
    tensors, folded, reshaped = from_vit(flat, prefix="backbone.")
    return Weights(source, "mri_core", tensors, reshaped=reshaped, folded=folded, dropped=dropped)


def _dinov2(content: Mapping[str, Any], source: str) -> Weights:
    """DINOv2's published encoders (arXiv 2304.07193)."""
    flat, dropped = unwrapped(content, ())
    tensors, folded, reshaped = from_vit(flat)
    return Weights(source, "dinov2", tensors, reshaped=reshaped, folded=folded, dropped=dropped)


def _mae(content: Mapping[str, Any], source: str) -> Weights:
    """MAE's published encoders (arXiv 2111.06377), with or without their decoder."""
    flat, dropped = unwrapped(content, ("model",))
    encoder, others = split(flat, lambda name: name.startswith("decoder_") or name == "mask_token")
    dropped += tuple(Note(name, "MAE's decoder") for name in others)
    tensors, folded, _ = from_vit(encoder)
    return Weights(source, "mae", tensors, folded=folded, dropped=dropped)


_READERS: Mapping[str, Callable[[Mapping[str, Any], str], Weights]] = {
    "sam": _sam,
    "mri_core": _mri_core,
    "dinov2": _dinov2,
    "mae": _mae,
}


def unwrapped(content: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[dict[str, Tensor], Dropped]:
    """The flat dictionary under the first of ``keys`` that there is, one inside the other.

    What lies beside it is dropped by name.

    Raises:
        UserError: something in it is not a tensor.
    """
    dropped: Dropped = ()
    for key in keys:
        if isinstance(content.get(key), Mapping):
            dropped += tuple(Note(name, f"beside {key!r}") for name in content if name != key)
            content = content[key]
    others = [f"{name} is no tensor" for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise refusal("the file is no flat dictionary of tensors", others, likely_layout(content))
    return dict(content), dropped


def split(
    tensors: Mapping[str, Tensor], belongs: Callable[[str], bool]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors whose names do not belong, and those whose names do."""
    others = {name: tensor for name, tensor in tensors.items() if belongs(name)}
    return {name: tensor for name, tensor in tensors.items() if name not in others}, others
