"""Ragged slices into one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mricore.augment.transfer import to_device

CPU = torch.device("cpu")


def uncrowded(width: int) -> int:
    """The next width that is an odd multiple of 16 pixels.

    Pixels that are apart by a power of two crowd the same places of a processor's cache, which doubles the
    time to go down a column.
    """
    return (-(-width // 16) | 1) * 16


def pad_slices(
    slices: Sequence[NDArray[Any]], device: torch.device = CPU
) -> tuple[Tensor, NDArray[np.int64]]:
    """Slices of shape (rows, columns) -> images (B, 1, H, W) on ``device``, sizes (B, 2) on the host.

    Images keep the type of the slices: 16-bit slices travel as 16 bits. Padding is zeros at bottom and right;
    crops never reach into it. The host does not wait for the copy to a CUDA device.
    """
    sizes = np.array([image.shape for image in slices])
    rows, columns = sizes.max(0).tolist()
    images = np.empty((len(slices), 1, rows, uncrowded(columns)), slices[0].dtype)
    for target, image in zip(images[:, 0], slices, strict=True):
        rows, columns = image.shape
        target[:rows, :columns] = image
        target[:rows, columns:] = 0
        target[rows:] = 0
    return to_device(images, device), sizes
