"""Real intensities as integers of 16 bits: exact where they came from integers, even steps elsewhere."""

import numpy as np
import pytest

from mricore.imaging.integers import to_integers


def real(scaled):
    return scaled.slope * scaled.pixels.astype(np.float64) + scaled.intercept


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (np.array([0, 255], np.uint8), np.uint16),
        (np.array([-128, 127], np.int8), np.int16),
        (np.array([-32768, 32767], np.int16), np.int16),
        (np.array([0, 65535], np.uint16), np.uint16),
        (np.array([0, 40000], np.int32), np.uint16),
        (np.array([-5, 300], np.int64), np.int16),
        (np.array([1e6, 1e6 + 65535], np.float64), np.uint16),
        (np.array([0.0, 4095.0], np.float32), np.uint16),
        (np.array([True, False]), np.uint16),
        (np.array([7.0, 7.0]), np.uint16),
    ],
)
def test_whole_numbers_stay_what_they_are(values, stored):
    scaled = to_integers(values)
    assert scaled.pixels.dtype == stored
    assert scaled.slope == 1
    assert scaled.is_exact
    np.testing.assert_array_equal(real(scaled), values)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0.37, 0.0), (0.37, -12.5), (-1.5, 40.0), (1e-5, 3.0), (2.0, 1.0)]
)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_integers_of_a_scaled_file_are_found_again(slope, intercept, kind):
    integers = np.random.default_rng(1).integers(-2000, 30000, (4, 5, 6))
    values = (integers * slope + intercept).astype(kind)
    scaled = to_integers(values, slope, intercept)
    assert scaled.is_exact
    assert scaled.slope == (abs(slope) if not (values == np.rint(values)).all() else 1)
    np.testing.assert_array_equal(real(scaled).astype(kind), values)


def test_a_scale_that_values_do_not_have_is_not_believed():
    values = np.random.default_rng(2).normal(size=(5, 5)).astype(np.float32)
    for slope, intercept in ((0.5, 0.0), (np.nan, np.nan), (0.0, 0.0), (1e-30, 0.0), (np.inf, 1.0)):
        assert not to_integers(values, slope, intercept).is_exact


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e9])
def test_decimal_numbers_are_wrong_by_half_a_step_at_most(factor):
    values = factor * np.random.default_rng(3).normal(100, 20, (50, 40))
    scaled = to_integers(values)
    assert not scaled.is_exact
    assert scaled.pixels.min() == 0
    assert scaled.pixels.max() == 65535
    assert scaled.slope == pytest.approx(np.ptp(values) / 65535)
    assert np.abs(real(scaled) - values).max() <= 0.501 * scaled.slope


def test_integers_that_span_more_than_16_bits_are_rounded():
    values = np.array([[-40000, 0], [5, 10**6]], np.int64)
    scaled = to_integers(values)
    assert not scaled.is_exact
    assert np.abs(real(scaled) - values).max() <= 0.501 * scaled.slope


def test_what_shows_nothing_is_zeros():
    scaled = to_integers(np.full((3, 3), 0.25, np.float32))
    assert (scaled.pixels == 0).all()
    np.testing.assert_array_equal(real(scaled), 0.25)
