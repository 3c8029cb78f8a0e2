"""Changes of intensity against their formulas in numpy."""

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import legval2d

from mricore.augment.draws import draw_views
from mricore.augment.intensity import log_bias_field, log_jitter, places_in_slice, rician
from mricore.config.schema import Augment


def crops(count=3, size=24):
    return torch.rand(count, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.numerics
def test_brightness_contrast_and_gamma_are_those_of_the_formulas():
    factors = np.array([(1.3, 0.7, 1.25), (0.7, 1.4, 0.8), (1.0, 1.0, 1.0)])
    made = log_jitter(crops(), *torch.from_numpy(factors).float().T).exp()
    for image, (brightness, contrast, gamma), found in zip(
        crops().double().numpy(), factors, made, strict=True
    ):
        bright = image * brightness
        expected = np.clip((bright - bright.mean()) * contrast + bright.mean(), 0, 1) ** gamma
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_constant_crop_stays_constant_and_finite(value):
    one = torch.full((1, 8, 8), value)
    made = log_jitter(one, *torch.tensor([[1.2], [0.6], [0.8]])).exp()
    torch.testing.assert_close(made, torch.full_like(made, min(1.2 * value, 1) ** 0.8))


@pytest.mark.numerics
def test_the_logarithm_of_the_bias_field_is_a_sum_of_legendre_polynomials():
    coefficients = np.random.default_rng(0).normal(size=(2, 4, 4))
    down, across = np.linspace(-1, 0.3, 9), np.linspace(-0.5, 1, 9)
    places = (torch.from_numpy(values).expand(2, -1) for values in (down, across))
    made = log_bias_field(torch.from_numpy(coefficients), *places)
    for found, own in zip(made.numpy(), coefficients, strict=True):
        expected = legval2d(*np.meshgrid(down, across, indexing="ij"), own)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_bias_field_is_smooth_and_keeps_within_its_strength():
    settings = Augment(bias_probability=1, bias_strength=0.4, local_crops=0)
    bias = torch.from_numpy(draw_views(np.random.default_rng(0), 500, settings).choices.bias).flatten(0, 1)
    places = torch.linspace(-1, 1, 101).expand(len(bias), -1)
    field = log_bias_field(bias, places, places)
    assert field.abs().max() <= 0.4 + 1e-6
    assert field.abs().amax((1, 2)).median() > 0.15  # and it is no formality
    # |P3'| <= 6 on [-1, 1], so a step of 0.02 changes the logarithm by at most 0.12 of the strength
    assert max(field.diff(dim=dim).abs().max() for dim in (1, 2)) <= 0.4 * 6 * 0.02 + 1e-6


def test_places_run_from_edge_to_edge_of_the_slice():
    boxes = torch.tensor([(0.0, 0.0, 40.0, 80.0), (20.0, 40.0, 10.0, 20.0)])
    down, across = places_in_slice(boxes, torch.tensor([(40, 80), (40, 80)]), 4)
    torch.testing.assert_close(down[0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(across[0], down[0])
    torch.testing.assert_close(down[1], torch.tensor([0.0625, 0.1875, 0.3125, 0.4375]))
    torch.testing.assert_close(across[1], down[1])


@pytest.mark.numerics
def test_noise_is_rayleigh_in_the_background_and_gaussian_in_tissue():
    sigma, keys = torch.tensor([0.02, 0.02]), torch.tensor([5, 6], dtype=torch.int32)
    empty, tissue = rician(torch.tensor([0.0, 0.5])[:, None, None].expand(2, 300, 300), sigma, keys).double()
    assert empty.mean() == pytest.approx(0.02 * np.sqrt(np.pi / 2), rel=0.01)
    assert empty.std() == pytest.approx(0.02 * np.sqrt(2 - np.pi / 2), rel=0.02)
    assert tissue.mean() == pytest.approx(0.5 + 0.02**2 / (2 * 0.5), abs=3e-4)
    assert tissue.std() == pytest.approx(0.02, rel=0.01)
