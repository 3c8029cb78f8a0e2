"""Which layout a file probably has, for the remedy of an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def likely_layout(content: Mapping[str, Any]) -> str:
    """A remedy that names the layout which the names in a file, also nested ones, look like."""
    names = set(content)
    for inner in content.values():
        names |= set(inner) if isinstance(inner, Mapping) else set()
    if _any_begins(names, "image_encoder."):
        return "its names are SAM's: choose the layout sam"
    if _any_begins(names, "backbone."):
        return "its names are those of DINOv2's training code: choose the layout mri_core"
    if _any_begins(names, "decoder_") or "model" in content:
        return "its names are MAE's: choose the layout mae"
    if "cls_token" in names:
        return "its names are a plain ViT's: choose the layout dinov2"
    return "choose the layout that the file has (docs/weights.md)"


def _any_begins(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
