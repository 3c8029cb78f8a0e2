"""Masked patches of iBOT as places in a batch, known on the host before the device sees them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mricore.model.transfer import to_device


class MaskedPatches(NamedTuple):
    """M masked patches among those of c crops; on the device, so that nothing waits for their number."""

    grid: Tensor
    """(c, h, w) bool: true where a patch is masked."""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    """(M,) int64, ascending: row-major places of the masked patches in (c * h * w)."""
    weights: Tensor
    """(M,) float32: 1 / masked patches of the same crop (iBOT's mean over each crop, arXiv 2111.07832)."""


def masked_patches(masks: NDArray[np.bool_], device: torch.device) -> MaskedPatches:
    """Masks (crops, h, w) of a worker's global crops, on ``device``."""
    index = np.flatnonzero(masks)
    counts = masks.sum((1, 2))[index // (masks.shape[1] * masks.shape[2])]
    weights = (1.0 / counts).astype(np.float32)
    grid = np.ascontiguousarray(masks)
    return MaskedPatches(*(to_device(array, device) for array in (grid, index, weights)))
