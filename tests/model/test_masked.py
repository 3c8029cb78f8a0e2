"""Masked patches as places, computed on the host."""

import numpy as np
import torch

from mricore.model.masked import masked_patches
from mricore.model.transfer import to_device

CPU = torch.device("cpu")


def test_places_are_row_major_and_weights_are_shares_of_a_crop():
    masks = np.random.default_rng(0).random((6, 3, 4)) < 0.3
    masks[1], masks[2] = False, True
    masked = masked_patches(masks, CPU)
    assert torch.equal(masked.grid, torch.from_numpy(masks))
    assert masked.index.dtype == torch.int64
    assert masked.weights.dtype == torch.float32
    features = torch.arange(6 * 12)
    assert torch.equal(features[masked.index], features[masked.grid.flatten()])
    crop = 0
    for index, weight in zip(masked.index.tolist(), masked.weights.tolist(), strict=True):
        crop = index // 12
        assert weight == np.float32(1 / masks[crop].sum())
    assert crop == 5
    np.testing.assert_allclose(masked.weights.sum(), masks.any((1, 2)).sum(), rtol=1e-6)


def test_nothing_may_be_masked():
    masked = masked_patches(np.zeros((4, 2, 2), bool), CPU)
    assert masked.index.shape == masked.weights.shape == (0,)
    assert not masked.grid.any()


def test_masks_may_be_a_view_of_other_masks():
    masks = np.random.default_rng(0).random((4, 3, 2)) < 0.5
    one, two = masked_patches(masks.transpose(0, 2, 1)[::2], CPU), masks.transpose(0, 2, 1)[::2].copy()
    assert torch.equal(one.grid, torch.from_numpy(two))
    np.testing.assert_array_equal(one.index, np.flatnonzero(two))


def test_what_arrives_on_the_device_has_the_type_and_values_of_the_host():
    for array in (np.arange(3), np.ones((2, 2), bool), np.float32([0.5])):
        tensor = to_device(array, CPU)
        np.testing.assert_array_equal(tensor.numpy(), array)
        assert tensor.numpy().dtype == array.dtype
