"""The loss of masked autoencoding (MAE, arXiv 2111.06377, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from mricore.objective.passes import wide

EPS = 1e-6
"""Added to a patch's variance, so that a constant patch has the target 0."""


def mae_share(
    predictions: Tensor, crops: Tensor, hidden: Tensor, patch: int, normalize: bool, global_rows: int
) -> Tensor:
    """This worker's share of the mean squared error on hidden patches.

    ``predictions`` (b, m, patch * patch) are of the patches ``hidden`` (b, m), row-major places, of the grey
    ``crops`` (b, 1, G, G). The error is averaged over the pixels of a patch, the hidden patches of a crop
    and the ``global_rows`` crops of the global batch. With ``normalize`` each patch of the target has mean 0
    and variance 1 (the unbiased variance, as in MAE's published code). At no less than float32.
    """
    with torch.no_grad():
        targets = hidden_patches(crops.to(wide(crops.dtype)), hidden, patch)
        if normalize:
            targets = targets - targets.mean(-1, keepdim=True)
            variance = targets.square().sum(-1, keepdim=True) / max(targets.shape[-1] - 1, 1)
            targets = targets / (variance + EPS).sqrt()
    errors = (predictions - targets).square()
    return errors.mean((1, 2)).sum() / global_rows


def hidden_patches(crops: Tensor, hidden: Tensor, patch: int) -> Tensor:
    """Pixels (b, m, patch * patch) of the patches at the row-major places ``hidden`` (b, m)."""
    b, _, height, width = crops.shape
    grid = crops.reshape(b, height // patch, patch, width // patch, patch)
    patches = grid.transpose(2, 3).reshape(b, grid.shape[1] * grid.shape[3], patch * patch)
    return patches.take_along_dim(hidden[..., None], dim=1)
