"""The promises of the draws: their ranges, and that no setting moves the numbers of another."""

import numpy as np
import pytest

from mricore.augment.draws import draw_views, pixel_boxes
from mricore.config.schema import Augment

OFF = {
    "flips": {"flip_probability": 0},
    "brightness": {"brightness": 0},
    "contrast": {"contrast": 0},
    "gamma": {"gamma": 0},
    "bias": {"bias_probability": 0},
    "blur": {"blur_probability": (0, 0, 0)},
    "noise": {"noise_probability": 0},
}


def drawn(seed, count, settings, **more):
    return draw_views(np.random.default_rng(seed), count, settings, **more)


@pytest.mark.parametrize("name", OFF)
def test_switching_one_thing_off_leaves_all_others_as_they_are(name):
    usual, other = (drawn(0, 30, settings).choices for settings in (Augment(), Augment(**OFF[name])))
    for field, values in usual._asdict().items():
        assert np.array_equal(values, getattr(other, field)) == (field != name), field


def test_further_candidates_change_nothing_but_their_own_number():
    one, four = (drawn(0, 30, Augment(foreground_candidates=count)).choices for count in (1, 4))
    np.testing.assert_array_equal(one.boxes[:, :, 0], four.boxes[:, :, 0])
    for field in one._fields[1:]:
        np.testing.assert_array_equal(getattr(one, field), getattr(four, field))


def test_draws_repeat_with_the_seed_and_differ_between_slices_and_views():
    one, two, other = (drawn(seed, 50, Augment()).choices for seed in (1, 1, 2))
    for field in one._fields:
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
        assert not np.array_equal(getattr(one, field), getattr(other, field))
    assert len(np.unique(one.keys)) == one.keys.size
    assert len(np.unique(one.boxes[:, 2:, 0, 0])) == one.keys[:, 2:].size


def test_boxes_have_uniform_area_log_uniform_aspect_and_lie_inside_the_slice():
    settings = Augment(global_scale=(0.1, 0.4), local_crops=1, ratio=(0.75, 2))
    boxes = drawn(5, 4000, settings).choices.boxes
    top, left, height, width = np.moveaxis(boxes, -1, 0)
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + 1e-6
    area, aspect = height * width, np.log(width / height)
    for values, low, high in (
        (area[:, :2], 0.1, 0.4),
        (area[:, 2:], 0.05, 0.32),
        (aspect, np.log(0.75), np.log(2)),
    ):
        shares, _ = np.histogram(values, bins=10, range=(low - 1e-6, high + 1e-6))
        np.testing.assert_allclose(shares / values.size, 0.1, atol=0.02)
        assert shares.sum() == values.size
    # a place is uniform over what the length leaves free
    free = top / (1 - height)
    np.testing.assert_allclose(np.histogram(free, 10, (0, 1))[0] / free.size, 0.1, atol=0.01)


def test_candidates_differ_in_place_and_not_in_size():
    boxes = drawn(0, 200, Augment(foreground_candidates=3)).choices.boxes
    np.testing.assert_array_equal(boxes[:, :, 0, 2:], boxes[:, :, 1, 2:])
    assert (boxes[:, 2:, 0, :2] != boxes[:, 2:, 1, :2]).all()


def test_a_side_is_cut_to_the_slice_where_the_aspect_makes_it_longer():
    lengths = drawn(0, 500, Augment(global_scale=(1, 1))).choices.boxes[:, :2, 0, 2:]
    np.testing.assert_array_equal(lengths.max(-1), 1)
    assert lengths.min() == pytest.approx(np.sqrt(0.75), abs=0.01)


@pytest.mark.parametrize("published", [(1.0, 0.1, 0.5), (0.0, 0.9, 0.5)])
def test_blur_probabilities_are_those_of_the_settings(published):
    """The second are what DINOv2's published code does, and what MRI-CORE was trained with."""
    blur = drawn(0, 3000, Augment(blur_probability=published, local_crops=4)).choices.blur
    expected = [published[0], published[1], *[published[2]] * 4]
    np.testing.assert_allclose((blur > 0).mean(0), expected, atol=0.03)
    assert blur[blur > 0].min() >= 0.1
    assert blur.max() <= 2


def test_probabilities_and_ranges_of_intensity():
    settings = Augment()
    choices = drawn(1, 2000, settings).choices
    jittered = choices.brightness != 1
    np.testing.assert_array_equal(jittered, choices.contrast != 1)
    np.testing.assert_array_equal(jittered, choices.gamma != 1)
    for share, expected in (
        (jittered, 0.8),
        (choices.flips, 0.5),
        (choices.bias.any((2, 3)), 0.3),
        (choices.noise > 0, 0.2),
    ):
        assert share.mean() == pytest.approx(expected, abs=0.02)
    for values, low, high in (
        (choices.brightness, 0.6, 1.4),
        (choices.contrast, 0.6, 1.4),
        (choices.gamma, 0.8, 1.25),
        (choices.noise[choices.noise > 0], 0.01, 0.05),
    ):
        assert low - 1e-6 <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high + 1e-6
    assert np.log(choices.gamma[jittered]).mean() == pytest.approx(0, abs=0.01)


def test_bias_coefficients_are_of_degree_one_to_three_and_sum_to_the_strength():
    bias = drawn(1, 300, Augment(bias_probability=1, bias_strength=0.7)).choices.bias
    np.testing.assert_allclose(np.abs(bias).sum((2, 3)), 0.7, rtol=1e-6)
    used = (bias != 0).all((0, 1))
    order = np.add.outer(np.arange(4), np.arange(4))
    np.testing.assert_array_equal(used, (order >= 1) & (order <= 3))


def test_one_global_crop_and_no_local_crops():
    parameters = drawn(0, 5, Augment(local_crops=0), globals_=1)
    assert parameters.choices.boxes.shape == (5, 1, 4, 4)
    assert (parameters.choices.blur > 0).all()  # the first global crop's probability


def test_the_choices_of_some_slices_are_theirs_in_the_whole_batch():
    parameters = drawn(0, 6, Augment(local_crops=2))
    some = parameters.take(np.array([4, 1]))
    for whole, part in zip(parameters.choices, some.choices, strict=True):
        np.testing.assert_array_equal(part, whole[[4, 1]])
    crops = some.crops(slice(2, None))
    np.testing.assert_array_equal(crops.keys, some.choices.keys[:, 2:].ravel())


def test_pixel_boxes_lie_inside_and_are_at_least_one_pixel_long():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, (50, 2))
    boxes = drawn(0, 50, Augment()).choices.boxes
    found = pixel_boxes(boxes, sizes)
    assert found.shape == boxes.shape
    assert (found[..., :2] >= 0).all()
    assert (found[..., 2:] >= 1).all()
    assert (found[..., :2] + found[..., 2:] <= sizes[:, None, None]).all()
    assert np.abs(found - boxes * np.tile(sizes, 2)[:, None, None]).max() <= 1 + 1e-5
