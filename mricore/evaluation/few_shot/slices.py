"""Slices as few-shot adaptation takes them: of one size, scaled one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mricore.errors import UserError
from mricore.evaluation.tasks.volume import LabelledVolume, Spacing

LEVELS = 255
ROUNDING = 1e-6
"""Resizing a constant slice leaves it constant but for this share of its value."""


@dataclass(frozen=True)
class PreparedSlices:
    """N slices of side S: ``images`` (N, 1, S, S) float32 in [0, 1], ``masks`` (N, S, S) uint8."""

    images: Tensor
    masks: Tensor

    def on(self, device: torch.device) -> PreparedSlices:
        """The same slices on a device."""
        return PreparedSlices(self.images.to(device), self.masks.to(device))


def prepared(
    slices: Sequence[tuple[NDArray[Any], NDArray[np.uint8]]], size: int, eight_bit: bool
) -> PreparedSlices:
    """Images and masks (R, C) of any sizes."""
    images = [prepared_images(image[None], size, eight_bit) for image, _ in slices]
    masks = [resized_masks(torch.from_numpy(np.ascontiguousarray(mask))[None], size) for _, mask in slices]
    return PreparedSlices(torch.cat(images), torch.cat(masks))


def prepared_images(images: NDArray[Any], size: int, eight_bit: bool) -> Tensor:
    """Images (N, R, C) resized to a square, whatever their aspect, then min-max of each; a constant is 0.

    Raises:
        UserError: an image holds NaN or infinity.
    """
    values = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None]
    if not torch.isfinite(values).all():
        raise UserError("a labelled slice contains NaN or infinity", "replace such pixels first")
    resized = F.interpolate(values, (size, size), mode="bilinear", antialias=True)
    low, high = resized.amin((2, 3), keepdim=True), resized.amax((2, 3), keepdim=True)
    spread = high - low
    varies = spread > ROUNDING * torch.maximum(low.abs(), high.abs())
    scaled = torch.where(varies, (resized - low) / spread, 0.0)
    return (scaled * LEVELS).floor() / LEVELS if eight_bit else scaled


def resized_masks(masks: Tensor, size: int) -> Tensor:
    """Masks (N, R, C) to the nearest pixel: (N, size, size), of the same type."""
    return F.interpolate(masks[:, None].float(), (size, size), mode="nearest-exact")[:, 0].to(masks.dtype)


def shrunken(target: Tensor, size: int) -> Tensor:
    """One-hot masks (B, 1 + C, S, S) to ``size``: bilinear with antialias, then rounded, as published.

    A pixel belongs to a class that covers more than half of it, else to the background.
    """
    shares = F.interpolate(target[:, 1:], (size, size), mode="bilinear", antialias=True)
    classes = (shares > 0.5).float()
    return torch.cat([1 - classes.sum(1, keepdim=True), classes], 1)


def spacing_at(volume: LabelledVolume, masks: NDArray[np.uint8]) -> Spacing:
    """Millimetres between the pixels of masks (S, r, c) that show a volume."""
    depth, *plane = volume.spacing
    _, *full = volume.mask.shape
    _, *size = masks.shape
    height, width = (mm * whole / part for mm, whole, part in zip(plane, full, size, strict=True))
    return depth, height, width
