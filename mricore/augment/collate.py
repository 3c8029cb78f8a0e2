"""Ragged slices into one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pad_slices(slices: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Slices of shape (rows, columns) -> images (B, 1, max rows, max columns), sizes (B, 2).

    Padding is zeros at bottom and right; crops never reach into it.
    """
    sizes = torch.tensor([image.shape for image in slices])
    rows, columns = (int(side) for side in sizes.amax(0))
    images = torch.zeros(len(slices), 1, rows, columns)
    for target, image in zip(images, slices, strict=True):
        target[0, : image.shape[0], : image.shape[1]] = torch.from_numpy(image)
    return images, sizes
