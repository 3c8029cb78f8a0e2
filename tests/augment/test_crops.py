"""Crops as matrix products against torch's own resize, and the promises of the draws."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mricore.augment.collate import pad_slices
from mricore.augment.crops import ViewParameters, blur_weights, draw_views, make_views, resize_weights
from mricore.config.schema import Augment

SETTINGS = Augment(global_size=32, local_size=16, local_crops=3)
PLAIN = Augment(
    global_size=32,
    local_size=16,
    local_crops=2,
    jitter_probability=0,
    flip_probability=0,
    blur_probability=(0, 0, 0),
)


def slices(*shapes):
    rng = np.random.default_rng(0)
    return [rng.random(shape).astype(np.float32) for shape in shapes]


@pytest.mark.numerics
@pytest.mark.parametrize("size", [8, 20, 37, 64])
@pytest.mark.parametrize("box", [(3, 30), (0, 40), (11, 17), (20, 1)])
def test_resize_weights_equal_antialiased_interpolation(size, box):
    start, length = box
    image = torch.rand(40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = resize_weights(
        torch.tensor([float(start)]).double(), torch.tensor([float(length)]).double(), 40, size
    )[0]
    expected = F.interpolate(
        image[start : start + length][None, None],
        (size, 50),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0, 0]
    torch.testing.assert_close(rows @ image, expected, atol=1e-12, rtol=0)


@pytest.mark.numerics
def test_views_equal_cropping_and_resizing_each_slice_alone():
    images, sizes = pad_slices(slices((50, 40), (33, 61), (48, 48)))
    padded = F.pad(images, (0, 7, 0, 9), value=1e6)  # what lies beyond a slice must never be seen
    padded[:, :, : images.shape[2], : images.shape[3]] = images
    for index, (rows, columns) in enumerate(sizes.tolist()):
        padded[index, :, rows:] = padded[index, :, :, columns:] = 1e6
    parameters = draw_views(np.random.default_rng(1), 3, PLAIN)
    globals_, locals_ = make_views(padded, sizes, parameters, PLAIN)
    assert globals_.shape == (6, 1, 32, 32)
    assert locals_.shape == (6, 1, 16, 16)
    for view in range(4):
        crops, size = (globals_, 32) if view < 2 else (locals_, 16)
        for index, (rows, columns) in enumerate(sizes.tolist()):
            top, left, height, width = parameters.boxes[index, view]
            high, wide = max(1, round(height * rows)), max(1, round(width * columns))
            y, x = min(round(top * rows), rows - high), min(round(left * columns), columns - wide)
            cut = images[index : index + 1, :, y : y + high, x : x + wide]
            expected = F.interpolate(cut, (size, size), mode="bilinear", antialias=True).clamp(0, 1)
            torch.testing.assert_close(crops[(view % 2) * 3 + index], expected[0], atol=1e-5, rtol=0)


def test_a_slice_gets_the_same_views_alone_and_in_a_batch():
    images, sizes = pad_slices(slices((50, 40), (33, 61), (48, 48)))
    parameters = draw_views(np.random.default_rng(2), 3, SETTINGS)
    together = make_views(images, sizes, parameters, SETTINGS)
    alone_images, alone_sizes = pad_slices(slices((50, 40), (33, 61), (48, 48))[1:2])
    alone = make_views(alone_images, alone_sizes, parameters.take(np.array([1])), SETTINGS)
    torch.testing.assert_close(together[0][1::3], alone[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(together[1][1::3], alone[1], atol=1e-6, rtol=0)
    for view in (*together, *alone):
        assert view.min() >= 0
        assert view.max() <= 1


def test_flipped_views_are_mirrored():
    settings = PLAIN.model_copy(update={"flip_probability": 1.0})
    images, sizes = pad_slices(slices((40, 40)))
    plain = make_views(images, sizes, draw_views(np.random.default_rng(3), 1, PLAIN), PLAIN)
    flipped = make_views(images, sizes, draw_views(np.random.default_rng(3), 1, settings), settings)
    torch.testing.assert_close(flipped[0], plain[0].flip(-1))


@pytest.mark.numerics
def test_blur_is_a_normalised_gaussian_and_zero_is_the_identity():
    weights = blur_weights(torch.tensor([0.0, 1.5]), 21)
    torch.testing.assert_close(weights[0], torch.eye(21))
    expected = np.exp(-0.5 * ((np.arange(21) - 10) / 1.5) ** 2)
    np.testing.assert_allclose(weights[1, 10].numpy(), expected / expected.sum(), rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 21))


def test_draws_repeat_and_keep_their_ranges():
    settings = Augment(local_crops=4)
    first, second = (draw_views(np.random.default_rng(5), 400, settings) for _ in range(2))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    top, left, height, width = np.moveaxis(first.boxes, -1, 0)
    assert ((top >= 0) & (left >= 0) & (top + height <= 1 + 1e-6) & (left + width <= 1 + 1e-6)).all()
    areas = height * width
    assert areas[:, :2].max() <= 1
    assert areas[:, :2].min() > 0.2
    assert areas[:, 2:].max() <= 0.32 + 1e-6
    blurred = (first.sigmas > 0).mean(0)
    np.testing.assert_allclose(blurred, [1.0, 0.1, 0.5, 0.5, 0.5, 0.5], atol=0.1)
    np.testing.assert_allclose(first.flips.mean(), 0.5, atol=0.05)
    assert first.gamma.min() >= 0.8 - 1e-6
    assert first.gamma.max() <= 1.25 + 1e-6


def test_blur_brightness_contrast_and_gamma_are_those_of_the_formulas():
    def both(value):
        return np.full((1, 2), value, np.float32)

    settings = Augment(global_size=16, local_crops=0, local_size=8)
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    whole = np.tile(np.array([0, 0, 1, 1], np.float32), (1, 2, 1))
    chosen = ViewParameters(whole, np.zeros((1, 2), bool), both(1.2), both(0.7), both(1.25), both(1.5))
    made = make_views(image, torch.tensor([[16, 16]]), chosen, settings)[0][0, 0].double().numpy()
    kernel = np.exp(-0.5 * (np.subtract.outer(np.arange(16), np.arange(16)) / 1.5) ** 2)
    kernel /= kernel.sum(1, keepdims=True)
    expected = 1.2 * (kernel @ image[0, 0].double().numpy() @ kernel.T)
    expected = np.clip((expected - expected.mean()) * 0.7 + expected.mean(), 0, 1) ** 1.25
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_boxes_reach_everywhere_and_vary_in_aspect():
    boxes = draw_views(np.random.default_rng(0), 400, Augment()).boxes
    assert boxes[..., 0].max() > 0.5
    assert boxes[..., 1].max() > 0.5
    ratio = np.log(boxes[:, 2:, 3] / boxes[:, 2:, 2])
    assert ratio.min() < -0.25
    assert ratio.max() > 0.25
    assert abs(ratio.mean()) < 0.05
