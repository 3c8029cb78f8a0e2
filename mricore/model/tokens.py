"""What encoders return."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Tokens(NamedTuple):
    """All patches of a batch of images, before any final norm."""

    grid: Tensor
    """(B, h, w, dim)."""
    class_token: Tensor | None
    """(B, dim); SAM's encoder has none."""


class ChosenTokens(NamedTuple):
    """What DINOv2 reads of a batch of images with a class token, before the final norm."""

    class_token: Tensor
    """(B, dim)."""
    patches: Tensor
    """(M, dim), in the order that was asked for."""


class VisibleTokens(NamedTuple):
    """The patches that an encoder was shown, before any final norm."""

    patches: Tensor
    """(B, n, dim), in the order that was asked for."""
    class_token: Tensor | None
    """(B, dim); SAM's encoder has none."""
