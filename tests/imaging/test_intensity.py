"""Intensities: exact statistics, and three ways to bring a slice into [0, 1]."""

from dataclasses import replace

import numpy as np
import pytest
from dicom_files import mr_header

from mricore.imaging.deidentify import Pseudonymizer, slice_record
from mricore.imaging.intensity import is_empty, measure, measure_volume, normalize
from mricore.imaging.volumes import Volume
from mricore.records import Intensity

HEADER = mr_header()
SCALES = [(1.0, 0.0), (2.5, -100.0), (-0.5, 3.0)]
MODES = ["slice", "volume", "percentile"]


def noise(shape=(13, 17), dtype=np.uint16, seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, endpoint=True)


def expected(values):
    return (values.min(), values.max(), *np.percentile(values, [0.5, 99.5]))


def as_tuple(found):
    return (found.minimum, found.maximum, found.p0_5, found.p99_5)


def record(pixels, slope=1.0, intercept=0.0, others=()):
    """A slice of a volume that also holds ``others``."""
    header = replace(HEADER, slope=slope, intercept=intercept)
    whole = measure_volume([(one, slope, intercept) for one in (pixels, *others)])
    return slice_record(
        header,
        pixels,
        Volume((header,), 1.0),
        0,
        measure(pixels, slope, intercept),
        whole,
        Pseudonymizer(b"k" * 32),
        "knee",
        "T1",
    )


@pytest.mark.parametrize(("slope", "intercept"), SCALES)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 5), (13, 17), (64, 64), (201, 1)])
def test_percentiles_are_numpy_s(shape, dtype, slope, intercept):
    pixels = noise(shape, dtype)
    values = pixels.astype(np.float64) * slope + intercept
    assert as_tuple(measure(pixels, slope, intercept)) == pytest.approx(expected(values), rel=1e-12)


@pytest.mark.parametrize("scales", [[(2.0, 5.0)] * 3, SCALES])
def test_a_volume_is_measured_over_all_its_pixels(scales):
    slices = [(noise(seed=k), *scale) for k, scale in enumerate(scales)]
    values = np.concatenate([(p.astype(np.float64) * a + b).ravel() for p, a, b in slices])
    assert as_tuple(measure_volume(slices)) == pytest.approx(expected(values), rel=1e-12)


def test_measuring_leaves_the_pixels_alone():
    pixels = noise()
    before = pixels.copy()
    measure(pixels, 1.0, 0.0)
    measure_volume([(pixels, 1.0, 0.0)])
    assert np.array_equal(pixels, before)


def test_a_constant_image_is_empty():
    assert is_empty(measure(np.full((4, 4), 7, np.uint16), 2.0, 1.0))
    assert not is_empty(measure(np.array([[7, 8]], np.uint16), 2.0, 1.0))
    assert is_empty(Intensity(np.nan, np.nan, np.nan, np.nan))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", SCALES)
def test_a_constant_slice_becomes_zeros(mode, scale):
    found = normalize(record(np.full((4, 5), 900, np.uint16), *scale), mode)
    assert found.shape == (4, 5)
    assert found.dtype == np.float32
    assert not found.any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize(("slope", "intercept"), [*SCALES, (1e-4, 1e6)])
def test_normalization_agrees_with_a_plain_computation(mode, dtype, slope, intercept):
    pixels, other = noise(dtype=dtype) // 3, noise(dtype=dtype, seed=1)
    found = normalize(record(pixels, slope, intercept, [other]), mode)
    values = pixels.astype(np.float64) * slope + intercept
    whole = np.stack([pixels, other]).astype(np.float64) * slope + intercept
    low, high = {
        "slice": (values.min(), values.max()),
        "volume": (whole.min(), whole.max()),
        "percentile": tuple(np.percentile(values, [0.5, 99.5])),
    }[mode]
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.allclose(found, np.clip((values - low) / (high - low), 0, 1), atol=2e-5)


def test_min_max_of_the_slice_reaches_both_ends():
    found = normalize(record(noise()), "slice")
    assert (found.min(), found.max()) == (0, 1)


def test_the_volume_s_range_keeps_dark_slices_dark():
    dark, bright = np.arange(16, dtype=np.uint16).reshape(4, 4), np.full((4, 4), 1500, np.uint16)
    found = normalize(record(dark, others=[bright]), "volume")
    assert found.max() == pytest.approx(0.01)


def test_a_constant_slice_of_a_volume_with_contrast_keeps_its_level():
    found = normalize(
        record(np.full((2, 2), 50, np.uint16), others=[np.array([[0, 100]], np.uint16)]), "volume"
    )
    assert np.allclose(found, 0.5)


def test_percentiles_cut_off_outliers():
    pixels = np.tile(np.arange(100, dtype=np.uint16), (100, 1))
    pixels[0, 0] = 60000
    found = normalize(record(pixels), "percentile")
    assert found[0, 0] == 1
    assert found[50, 50] == pytest.approx(50 / 99, abs=0.02)
    assert normalize(record(pixels), "slice")[50, 50] < 0.01


def test_a_negative_slope_turns_the_image_around():
    pixels = np.array([[0, 10]], np.uint16)
    assert normalize(record(pixels, -2.0, 5.0), "slice").tolist() == [[1, 0]]
