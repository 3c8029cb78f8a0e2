"""Weights as they are between a file and a network: under our names, with a record of what was changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mricore.config.schema import Model
from mricore.model.weights.report import Note

Layout = Literal["sam", "mri_core", "dinov2", "mae", "mricore"]
Kind = Literal["sam", "plain"]


@dataclass(frozen=True)
class Weights:
    """Tensors in float32 under the names of ``Network``, e.g. ``encoder.*``, ``token.norm.*``, ``head.*``.

    ``source`` tells file and layout, ``digest`` what its digest says; ``settings`` are those stored with the
    file, None if it holds tensors alone. ``reshaped``, ``folded`` and ``dropped`` are as in ``LoadReport``.
    """

    source: str
    layout: Layout
    tensors: Mapping[str, Tensor]
    settings: Model | None = None
    reshaped: tuple[Note, ...] = ()
    folded: tuple[Note, ...] = ()
    dropped: tuple[Note, ...] = ()
    digest: str = ""

    @property
    def kind(self) -> Kind:
        """SAM's encoder, or a plain ViT, which alone has a class token."""
        return "plain" if "encoder.cls_token" in self.tensors else "sam"
