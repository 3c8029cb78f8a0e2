"""Which patches are hidden: blocks for iBOT (as in BEiT, arXiv 2106.08254), single patches for MAE."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mricore.config.schema import Augment

Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]
MIN_BLOCK = 4
"""Smallest area of a block in patches that is drawn for."""
ASPECT = (0.3, 1 / 0.3)
TRIES = 10
"""Blocks that are refused in a row before a mask stays as it is."""


def draw_masks(rng: np.random.Generator, count: int, grid: int, settings: Augment) -> Mask:
    """Masks (2, count, grid, grid) for the two global crops of a whole global batch of ``count`` slices.

    A share ``mask_probability`` of the crops is masked; their ratios are stratified: crop i of m draws
    from the i-th of m equal parts of ``mask_ratio``. The others stay empty; the order is shuffled.
    """
    crops = 2 * count
    masked = int(crops * settings.mask_probability)
    edges = np.linspace(*settings.mask_ratio, masked + 1)
    wanted = (grid * grid * rng.uniform(edges[:-1], edges[1:])).astype(np.int64)
    masks = np.zeros((crops, grid, grid), bool)
    masks[:masked] = block_masks(rng, grid, wanted)
    return rng.permutation(masks).reshape(2, count, grid, grid)


def block_masks(rng: np.random.Generator, grid: int, wanted: Indices) -> Mask:
    """Masks (M, grid, grid) with at most ``wanted`` (M,) patches each, made of rectangles.

    All masks grow at once, by one try each, until they are full or too many tries in a row were refused.
    """
    masks = np.zeros((len(wanted), grid, grid), bool)
    missing = wanted.copy()
    refused = np.zeros(len(wanted), np.int64)
    while (growing := np.flatnonzero((missing > 0) & (refused < TRIES))).size:
        blocks, added = _blocks(rng, masks[growing], missing[growing])
        masks[growing] |= blocks
        missing[growing] -= added
        refused[growing] = np.where(added, 0, refused[growing] + 1)
    return masks


def draw_kept_patches(
    rng: np.random.Generator, count: int, patches: int, mask_ratio: float
) -> tuple[Indices, Indices]:
    """For MAE (arXiv 2111.06377): which patches of each slice stay and which are hidden, at random.

    Returns:
        Kept (count, n) and hidden (count, m) patches in ascending order, n + m = ``patches``, where m is
        the nearest to ``mask_ratio`` that leaves at least one patch of each kind.
    """
    hidden = min(max(round(patches * mask_ratio), 1), patches - 1)
    order = rng.random((count, patches)).argsort(1)
    return np.sort(order[:, hidden:], 1), np.sort(order[:, :hidden], 1)


def _blocks(rng: np.random.Generator, masks: Mask, missing: Indices) -> tuple[Mask, Indices]:
    """One rectangle for each mask (M, grid, grid), and how many patches it adds.

    A rectangle that would add nothing, or more than is missing or than half of the grid, is refused: empty.
    """
    count, grid, _ = masks.shape
    area, aspect, down, right = rng.random((4, count))
    most = np.minimum(missing, grid * grid // 2)
    area = MIN_BLOCK + (most - MIN_BLOCK) * area
    aspect = np.exp(math.log(ASPECT[0]) + math.log(ASPECT[1] / ASPECT[0]) * aspect)
    height, width = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    rows = _span(np.floor(down * (grid - height + 1)), height, grid)
    columns = _span(np.floor(right * (grid - width + 1)), width, grid)
    blocks = rows[:, :, None] & columns[:, None, :]
    added = np.count_nonzero(blocks & ~masks, axis=(1, 2))
    taken = (height < grid) & (width < grid) & (added <= most)
    return blocks & taken[:, None, None], added * taken


def _span(start: NDArray[np.float64], length: NDArray[np.float64], grid: int) -> Mask:
    """Which of ``grid`` lines lie in [start, start + length): (M, grid)."""
    lines = np.arange(grid)
    return (lines >= start[:, None]) & (lines < (start + length)[:, None])
