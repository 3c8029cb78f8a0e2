import numpy as np
import pytest

from mricore.augment.masks import block_mask, draw_masks
from mricore.config.schema import Augment


def test_published_sizes_at_batch_128():
    masks = draw_masks(np.random.default_rng(0), 128, 14, Augment())
    counts = masks.sum((2, 3)).ravel()
    assert (counts > 0).sum() == 128
    assert counts.sum() / 128 == pytest.approx(58.2, abs=1.5)
    assert counts.max() <= 98
    # stratified: the masked crops cover the range of ratios evenly
    quarters = np.histogram(counts[counts > 0] / 196, bins=[0.08, 0.2, 0.3, 0.4, 0.5])[0]
    assert quarters.min() >= 25


@pytest.mark.parametrize("grid", [2, 3, 6, 7, 12])
def test_any_grid_gets_at_most_what_is_wanted(grid):
    for seed in range(50):
        wanted = int(grid * grid * 0.4)
        count = block_mask(np.random.default_rng(seed), grid, wanted).sum()
        assert count <= wanted
        assert count >= 0.5 * wanted


def test_masks_repeat_with_the_seed():
    one, two, other = (draw_masks(np.random.default_rng(seed), 6, 8, Augment()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
