"""Sparse products against torch's own resize and a direct convolution."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mricore.augment.geometry import blur, cut

BOXES = ((3, 5, 30, 50), (0, 0, 40, 64), (11, 40, 17, 9), (20, 63, 1, 1), (39, 0, 1, 64), (5, 5, 20, 20))


def images(dtype=torch.float64):
    return torch.rand(3, 40, 64, dtype=dtype, generator=torch.Generator().manual_seed(0))


def cropped(box, image, size):
    top, left, height, width = box
    window = image[None, None, top : top + height, left : left + width]
    return F.interpolate(window, (size, size), mode="bilinear", antialias=True, align_corners=False)[0, 0]


@pytest.mark.numerics
@pytest.mark.parametrize("size", [8, 20, 37, 64])
def test_crops_equal_cutting_and_antialiased_interpolation(size):
    owners = torch.arange(3).repeat_interleave(2)
    flips = torch.tensor([False, True, False, True, True, False])
    made = cut(images(), owners, torch.tensor(BOXES).double(), flips, size, 64)
    for crop, owner, box, flip in zip(made, owners, BOXES, flips, strict=True):
        expected = cropped(box, images()[owner], size)
        torch.testing.assert_close(crop, expected.flip(1) if flip else expected, atol=1e-12, rtol=0)


def test_single_precision_is_as_good_as_sixteen_bits():
    wide = torch.rand(1, 512, 512, generator=torch.Generator().manual_seed(1))
    box = (3, 17, 509, 321)
    made = cut(wide, torch.tensor([0]), torch.tensor([box]).float(), torch.tensor([False]), 224, 509)[0]
    torch.testing.assert_close(made.double(), cropped(box, wide[0].double(), 224), atol=1e-5, rtol=0)


def test_more_taps_than_needed_change_nothing():
    arguments = torch.tensor([0]), torch.tensor(BOXES[:1]).double(), torch.tensor([False]), 16
    torch.testing.assert_close(cut(images()[:1], *arguments, 50), cut(images()[:1], *arguments, 200))


@pytest.mark.numerics
def test_blur_equals_a_direct_convolution_renormalised_at_the_edges():
    image = images()[0, :21, :21].numpy()
    sigmas = (0.1, 0.8, 1.5)
    made = blur(torch.from_numpy(image).expand(3, -1, -1), torch.tensor(sigmas, dtype=torch.float64), 1.5)
    for sigma, found in zip(sigmas, made.numpy(), strict=True):
        expected = np.zeros((21, 21))
        for row, column in np.ndindex(21, 21):
            reach = int(np.ceil(3 * sigma))
            rows, columns = (np.arange(max(0, at - reach), min(21, at + reach + 1)) for at in (row, column))
            weights = np.exp(-((rows[:, None] - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))
            expected[row, column] = (weights * image[np.ix_(rows, columns)]).sum() / weights.sum()
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.numerics
def test_cutting_the_tails_of_a_blur_changes_it_by_less_than_a_hundredth():
    impulse = torch.zeros(1, 41, 41, dtype=torch.float64)
    impulse[0, 20, 20] = 1
    whole = np.exp(-(np.arange(-20, 21) ** 2) / (2 * 1.7**2))
    whole /= whole.sum()
    made = blur(impulse, torch.tensor([1.7], dtype=torch.float64), 1.7)[0].numpy()
    np.testing.assert_allclose(made, np.outer(whole, whole), atol=0.01 * whole.max() ** 2)


def test_constant_images_stay_constant():
    plain = torch.full((1, 40, 40), 0.3)
    box = torch.tensor([[2.0, 3.0, 31.0, 17.0]])
    made = cut(plain, torch.tensor([0]), box, torch.tensor([True]), 24, 31)
    torch.testing.assert_close(made, torch.full_like(made, 0.3))
    torch.testing.assert_close(blur(made, torch.tensor([2.0]), 2.0), made)
