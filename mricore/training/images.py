"""From a batch of stored slices to tensors on the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mricore.augment.collate import pad_slices
from mricore.config.schema import Recipe
from mricore.data.batch import Batch


def padded(batch: Batch, device: torch.device) -> tuple[Tensor, NDArray[np.int64]]:
    """16-bit slices (B, 1, H, W), zero-padded at bottom and right, on the device, and their sizes (B, 2).

    The host does not wait for their journey.
    """
    return pad_slices(batch.slices.images, device)


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """bfloat16 where it is safe, if the recipe asks for it."""
    return torch.autocast(device.type, torch.bfloat16, recipe.train.precision == "bfloat16")
