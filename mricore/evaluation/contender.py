"""An encoder that takes part in a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mricore.model.embedder import Embedder


@dataclass(frozen=True)
class Contender:
    """A frozen encoder with the name it has in tables, and what tells it from all others.

    ``digest`` is a SHA-256 over its tensors and settings; features and results are kept under it.
    ``origin`` is how it was asked for, e.g. "models:/mri-core/3", "random", "sam", never a path of the user.
    ``decoder`` are the tensors of SAM's prompt encoder and mask decoder that lay in the encoder's file, by
    their names there; empty if there were none.
    """

    name: str
    embedder: Embedder
    digest: str
    origin: str
    decoder: Mapping[str, Tensor] = field(default_factory=dict)
