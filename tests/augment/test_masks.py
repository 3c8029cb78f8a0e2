"""Block masks against the published procedure, one block at a time; patches kept for MAE."""

import math
import random

import numpy as np
import pytest

from mricore.augment.masks import block_masks, draw_kept_patches, draw_masks
from mricore.config.schema import Augment


def block_by_block(rng, grid, wanted):
    """DINOv2's procedure (BEiT's, with its constants) for one mask, in plain Python."""
    mask = np.zeros((grid, grid), bool)
    while (missing := min(wanted - mask.sum(), grid * grid // 2)) > 0:
        for _ in range(10):
            area = rng.uniform(4, missing)
            aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height >= grid or width >= grid:
                continue
            top, left = rng.randint(0, grid - height), rng.randint(0, grid - width)
            block = mask[top : top + height, left : left + width]
            if 0 < block.size - block.sum() <= missing:
                block[:] = True
                break
        else:
            break
    return mask


def test_published_sizes_at_batch_128():
    masks = draw_masks(np.random.default_rng(0), 128, 14, Augment())
    counts = masks.sum((2, 3)).ravel()
    assert (counts > 0).sum() == 128
    assert counts.sum() / 128 == pytest.approx(58.2, abs=0.3)
    assert counts.max() <= 98
    # stratified: the masked crops cover the range of ratios evenly
    quarters = np.histogram(counts[counts > 0] / 196, bins=[0.08, 0.2, 0.3, 0.4, 0.5])[0]
    assert quarters.min() >= 25


@pytest.mark.numerics
@pytest.mark.parametrize(("grid", "wanted"), [(14, 20), (14, 98), (6, 10), (6, 30), (3, 3), (2, 1)])
def test_masks_have_the_distribution_of_the_published_procedure(grid, wanted):
    many = 1500
    made = block_masks(np.random.default_rng(0), grid, np.full(many, wanted))
    rng = random.Random(0)
    expected = np.array([block_by_block(rng, grid, wanted) for _ in range(many)])
    for measure in (
        lambda masks: masks.sum((1, 2)),
        lambda masks: (masks[:, 1:] ^ masks[:, :-1]).sum((1, 2)),  # length of horizontal edges
        lambda masks: masks[:, :, 0].sum(1),
        lambda masks: masks[:, grid // 2].any(1),
    ):
        one, other = (measure(masks).astype(float) for masks in (made, expected))
        error = np.sqrt((one.var() + other.var()) / many) + 1e-9
        assert abs(one.mean() - other.mean()) < 4 * error
        assert abs(one.std() - other.std()) < 0.1 * other.std() + 0.03


@pytest.mark.parametrize("grid", [1, 2, 3, 6, 7, 12])
def test_any_grid_gets_at_most_what_is_wanted(grid):
    wanted = np.full(200, int(grid * grid * 0.4))
    counts = block_masks(np.random.default_rng(0), grid, wanted).sum((1, 2))
    assert (counts <= wanted).all()
    assert counts.mean() >= 0.7 * wanted[0]


def test_masks_of_one_batch_want_different_numbers():
    wanted = np.array([0, 5, 40, 0, 98])
    counts = block_masks(np.random.default_rng(0), 14, wanted).sum((1, 2))
    assert (counts <= wanted).all()
    assert (counts >= 0.8 * wanted).all()


def test_masks_repeat_with_the_seed():
    one, two, other = (draw_masks(np.random.default_rng(seed), 6, 8, Augment()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("patches", "ratio", "hidden"), [(196, 0.75, 147), (144, 0.75, 108), (4, 0.99, 3), (9, 0.01, 1)]
)
def test_patches_are_either_kept_or_hidden_and_uniform(patches, ratio, hidden):
    kept, gone = draw_kept_patches(np.random.default_rng(0), 4000, patches, ratio)
    assert gone.shape == (4000, hidden)
    np.testing.assert_array_equal(np.sort(np.hstack([kept, gone]), 1), np.tile(np.arange(patches), (4000, 1)))
    for ascending in (kept, gone):
        assert (np.diff(ascending, axis=1) > 0).all()
    share = np.bincount(gone.ravel(), minlength=patches) / 4000
    np.testing.assert_allclose(share, hidden / patches, atol=4.5 * np.sqrt(0.25 / 4000))
