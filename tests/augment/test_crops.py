"""Whole views: each slice alone, in order, on any device and in any split of the batch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.polynomial.legendre import legval2d
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from waiting import nothing_waits

from mricore.augment import crops as crops_module
from mricore.augment.collate import pad_slices
from mricore.augment.crops import make_views
from mricore.augment.draws import draw_views, pixel_boxes
from mricore.augment.noise import normal_pairs
from mricore.config.schema import Augment

SHAPES = ((50, 40), (33, 61), (48, 48), (70, 20), (41, 43))
ALL = Augment(local_crops=3, bias_probability=0.5, noise_probability=0.5, blur_probability=(1.0, 0.4, 0.5))
PLAIN = Augment(
    local_crops=2,
    foreground_candidates=1,
    jitter_probability=0,
    bias_probability=0,
    noise_probability=0,
    blur_probability=(0, 0, 0),
)


def slices(shapes=SHAPES):
    rng = np.random.default_rng(0)
    return [rng.random(shape).astype(np.float32) for shape in shapes]


def views(images, parameters, settings):
    return make_views(*pad_slices(images), parameters, settings, 32, 16)


def drawn(settings, seed=1, **more):
    return draw_views(np.random.default_rng(seed), len(SHAPES), settings, **more)


@pytest.mark.numerics
def test_views_equal_cropping_and_resizing_each_slice_alone():
    images, sizes = pad_slices(slices())
    for index, (rows, columns) in enumerate(sizes):  # what lies beyond a slice must never be seen
        images[index, :, rows:] = images[index, :, :, columns:] = 1e6
    parameters = drawn(PLAIN)
    globals_, locals_ = make_views(images, sizes, parameters, PLAIN, 32, 16)
    assert globals_.shape == (10, 1, 32, 32)
    assert locals_.shape == (10, 1, 16, 16)
    boxes = pixel_boxes(parameters.choices.boxes, sizes)[:, :, 0]
    for view in range(4):
        crops, size = (globals_, 32) if view < 2 else (locals_, 16)
        for index, image in enumerate(slices()):
            top, left, height, width = boxes[index, view]
            cut = torch.from_numpy(image)[None, None, top : top + height, left : left + width]
            expected = F.interpolate(cut, (size, size), mode="bilinear", antialias=True)[0, 0]
            if parameters.choices.flips[index, view]:
                expected = expected.flip(1)
            torch.testing.assert_close(crops[(view % 2) * 5 + index, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.numerics
def test_changes_come_in_the_order_tissue_coil_resolution_receiver():
    """The whole chain in double precision from the formulas; other orders differ by far more."""
    settings = Augment(
        local_crops=0,
        bias_probability=1,
        noise_probability=1,
        blur_probability=(1, 1, 1),
        jitter_probability=1,
    )
    plain = PLAIN.model_copy(update={"local_crops": 0})
    choices = drawn(settings, globals_=1).choices
    made, _ = views(slices(), drawn(settings, globals_=1), settings)
    crops, _ = views(slices(), drawn(plain, globals_=1), plain)
    places = np.arange(32)
    for index, crop in enumerate(crops[:, 0].double().numpy()):
        one = type(choices)(*(values[index, 0] for values in choices))
        tissue = (crop - crop.mean()) * one.brightness * one.contrast + crop.mean() * one.brightness
        tissue = np.clip(tissue, 0, 1) ** one.gamma
        box = pixel_boxes(one.boxes[None, :1], np.array([SHAPES[index]]))[0, 0]
        down, across = (
            2 * (box[axis] + (places + 0.5) * box[2 + axis] / 32) / SHAPES[index][axis] - 1 for axis in (0, 1)
        )
        coil = np.exp(legval2d(*np.meshgrid(down, across, indexing="ij"), one.bias))
        kernel = np.exp(-0.5 * (np.subtract.outer(places, places) / one.blur) ** 2)
        kernel /= kernel.sum(1, keepdims=True)
        smeared = kernel @ np.clip(tissue * coil, 0, 1) @ kernel.T
        real, imaginary = (
            part[0].reshape(32, 32).numpy() * one.noise
            for part in normal_pairs(torch.tensor([int(one.keys)], dtype=torch.int32), 32 * 32)
        )
        expected = np.clip(np.hypot(smeared + real, imaginary), 0, 1)
        np.testing.assert_allclose(made[index, 0].numpy(), expected, atol=2e-4)


def test_a_slice_gets_the_same_views_in_any_part_of_the_batch():
    parameters = drawn(ALL)
    together = views(slices(), parameters, ALL)
    for rows in ([1], [0, 2, 4], [3, 1]):
        part = views([slices()[row] for row in rows], parameters.take(np.array(rows)), ALL)
        for whole, some in zip(together, part, strict=True):
            expected = whole.unflatten(0, (-1, len(SHAPES)))[:, rows].flatten(0, 1)
            torch.testing.assert_close(some, expected, atol=1e-5, rtol=0)


def test_views_do_not_depend_on_how_many_slices_are_worked_on_at_once(monkeypatch):
    together = views(slices(), drawn(ALL), ALL)
    monkeypatch.setattr(crops_module, "PORTION", 1)
    for whole, one_by_one in zip(together, views(slices(), drawn(ALL), ALL), strict=True):
        torch.testing.assert_close(whole, one_by_one, atol=1e-5, rtol=0)


def test_sixteen_bit_slices_give_the_views_of_the_same_slices_in_zero_to_one():
    stored = [(image * 65535).astype(np.uint16) for image in slices()]
    unit = [image.astype(np.float32) / np.float32(65535) for image in stored]
    levels = torch.tensor([[0.0, 65535.0]]).expand(len(SHAPES), 2)
    found = make_views(*pad_slices(stored), drawn(ALL), ALL, 32, 16, levels)
    for one, other in zip(found, views(unit, drawn(ALL), ALL), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_views_are_a_function_of_the_draws_alone():
    torch.manual_seed(0)
    first = views(slices(), drawn(ALL), ALL)
    torch.manual_seed(1)
    again, other = views(slices(), drawn(ALL), ALL), views(slices(), drawn(ALL, seed=2), ALL)
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one, two)
        assert (one != three).any()


def test_views_stay_within_zero_and_one_at_the_strongest_settings():
    strong = Augment(
        local_crops=2,
        brightness=0.9,
        contrast=0.9,
        gamma=0.8,
        bias_probability=1,
        bias_strength=1.9,
        noise_probability=1,
        noise_sigma=(0.5, 1.0),
        blur_probability=(1, 1, 1),
    )
    for crops in views(slices(), drawn(strong), strong):
        assert crops.min() >= 0
        assert crops.max() <= 1
        assert crops.std() > 0.1


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_and_empty_slices_stay_finite(value):
    plain = [np.full(shape, value, np.float32) for shape in SHAPES]
    for crops in views(plain, drawn(ALL), ALL):
        assert torch.isfinite(crops).all()
    for crops in views(plain, drawn(PLAIN), PLAIN):
        torch.testing.assert_close(crops, torch.full_like(crops, value))


def test_blurring_white_does_not_round_to_more_than_white():
    settings = PLAIN.model_copy(update={"blur_probability": (1, 1, 1), "local_crops": 30})
    white = [np.ones(shape, np.float32) for shape in SHAPES]
    assert max(crops.max() for crops in views(white, drawn(settings), settings)) <= 1


def test_crops_show_the_body_more_often_when_candidates_are_compared():
    """A bright square in an empty slice: with one candidate many local crops miss it."""
    body = np.zeros((64, 64), np.float32)
    body[40:60, 4:24] = 1
    shown = []
    for candidates in (1, 12):
        settings = PLAIN.model_copy(update={"foreground_candidates": candidates, "local_crops": 40})
        _, locals_ = views([body], draw_views(np.random.default_rng(0), 1, settings), settings)
        shown.append((locals_.mean((1, 2, 3)) >= 0.25).double().mean().item())
    assert shown[0] < 0.4
    assert shown[1] > 0.7


def test_one_global_crop_and_no_local_crops_for_masked_autoencoding():
    settings = ALL.model_copy(update={"local_crops": 0})
    globals_, locals_ = views(slices(), drawn(settings, globals_=1), settings)
    assert globals_.shape == (5, 1, 32, 32)
    assert locals_.shape == (0, 1, 16, 16)


def test_sizes_change_from_call_to_call_and_keep_what_is_shown():
    parameters = drawn(PLAIN)
    large, _ = make_views(*pad_slices(slices()), parameters, PLAIN, 64, 16)
    small, _ = make_views(*pad_slices(slices()), parameters, PLAIN, 16, 16)
    torch.testing.assert_close(F.avg_pool2d(large, 4), small, atol=0.25, rtol=0)
    assert F.avg_pool2d(large, 4).sub(small).abs().mean() < 0.05


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_step_needs_a_value_from_the_device(device):
    """Fake tensors have no values: a step that reads one, or mixes devices, is refused."""
    _, sizes = pad_slices(slices())
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.empty(len(SHAPES), 1, 70, 80, device=device, dtype=torch.uint16)
        levels = torch.empty(len(SHAPES), 2, device=device)
        globals_, locals_ = make_views(images, sizes, drawn(ALL), ALL, 32, 16, levels)
        assert globals_.shape == (10, 1, 32, 32)
        assert locals_.shape == (15, 1, 16, 16)
        assert globals_.device.type == device
        with pytest.raises(DataDependentOutputException):
            globals_.sum().item()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_views_on_a_cuda_device_are_those_of_the_cpu_and_nothing_waits():
    expected = views(slices(), drawn(ALL), ALL)
    images, sizes = pad_slices(slices(), torch.device("cuda"))
    make_views(images, sizes, drawn(ALL), ALL, 32, 16)  # so that libraries are loaded
    with nothing_waits():
        made = make_views(images, sizes, drawn(ALL), ALL, 32, 16)
    for one, other in zip(expected, made, strict=True):
        torch.testing.assert_close(other.cpu(), one, atol=1e-4, rtol=0)
