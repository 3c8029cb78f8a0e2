"""Block masks for iBOT, as DINOv2 draws them (blocks: BEiT, arXiv 2106.08254)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mricore.config.schema import Augment

Mask = NDArray[np.bool_]
MIN_BLOCK = 4
"""Smallest block in patches."""
ASPECT = (0.3, 1 / 0.3)
TRIES = 10


def draw_masks(rng: np.random.Generator, count: int, grid: int, settings: Augment) -> Mask:
    """Masks (2, count, grid, grid) for the two global crops of a whole global batch of ``count`` slices.

    A share ``mask_probability`` of the crops is masked; their ratios are stratified: crop i of m draws
    from the i-th of m equal parts of ``mask_ratio``. The others stay empty; the order is shuffled.
    """
    crops = 2 * count
    masked = int(crops * settings.mask_probability)
    edges = np.linspace(*settings.mask_ratio, masked + 1)
    masks = np.zeros((crops, grid, grid), bool)
    for index in range(masked):
        ratio = rng.uniform(edges[index], edges[index + 1])
        masks[index] = block_mask(rng, grid, int(grid * grid * ratio))
    return rng.permutation(masks).reshape(2, count, grid, grid)


def block_mask(rng: np.random.Generator, grid: int, wanted: int) -> Mask:
    """A mask with at most ``wanted`` patches made of rectangles; close to it unless the grid is full."""
    mask = np.zeros((grid, grid), bool)
    while (missing := wanted - int(mask.sum())) > 0:
        block = _block(rng, mask, missing)
        if block is None:
            break
        mask[block] = True
    return mask


def _block(rng: np.random.Generator, mask: Mask, missing: int) -> tuple[slice, slice] | None:
    """A rectangle that adds at least one and at most ``missing`` patches, or None after some tries."""
    grid = mask.shape[0]
    for _ in range(TRIES):
        area = rng.uniform(min(MIN_BLOCK, missing), missing)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (0 < height < grid and 0 < width < grid):
            continue
        top, left = rng.integers(0, grid - height + 1), rng.integers(0, grid - width + 1)
        block = slice(top, top + height), slice(left, left + width)
        if 0 < height * width - int(mask[block].sum()) <= missing:
            return block
    return None
