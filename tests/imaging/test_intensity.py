"""Intensities: exact statistics of what is no padding, and three ways to bring a slice into [0, 1]."""

import numpy as np
import pytest

from mricore.imaging.intensity import VolumeStatistics, histogram, is_empty, normalize, without_padding
from mricore.records import Intensity, SliceRecord

SCALES = [(1.0, 0.0), (2.5, -100.0), (-0.5, 3.0)]
HUGE_OFFSET = (1e-4, 1e6)
MODES = ["slice", "volume", "percentile"]


def noise(shape=(13, 17), dtype=np.uint16, seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, endpoint=True)


def expected(values):
    return (values.min(), values.max(), *np.percentile(values, [0.5, 99.5]))


def real(pixels, slope, intercept):
    return pixels.astype(np.float64) * slope + intercept


def as_tuple(found):
    return (found.minimum, found.maximum, found.p0_5, found.p99_5)


def measured(slices, padding=()):
    """Statistics of a volume of (pixels, slope, intercept)."""
    statistics = VolumeStatistics()
    for pixels, slope, intercept in slices:
        statistics.add(histogram(pixels, padding), slope, intercept)
    return statistics.intensity()


def record(pixels, slope=1.0, intercept=0.0, others=(), padding=()):
    """A slice as curation stores it, of a volume that also holds ``others``."""
    counted = histogram(pixels, padding)
    whole = measured([(one, slope, intercept) for one in (pixels, *others)], padding)
    unused = dict.fromkeys(SliceRecord.__dataclass_fields__)
    return SliceRecord(
        **unused
        | {
            "pixels": without_padding(pixels, padding, counted.darkest(slope)),
            "slope": slope,
            "intercept": intercept,
            "slice_intensity": counted.intensity(slope, intercept),
            "volume_intensity": whole,
        }
    )


@pytest.mark.parametrize(("slope", "intercept"), [*SCALES, HUGE_OFFSET])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 5), (13, 17), (64, 64), (201, 1)])
def test_percentiles_are_numpy_s(shape, dtype, slope, intercept):
    pixels = noise(shape, dtype)
    found = histogram(pixels).intensity(slope, intercept)
    assert as_tuple(found) == pytest.approx(expected(real(pixels, slope, intercept)), rel=1e-12)


@pytest.mark.parametrize("scales", [[(2.0, 5.0)] * 3, [(-2.0, 5.0)] * 3, SCALES, [HUGE_OFFSET, (1.0, 0.0)]])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_a_volume_is_measured_over_all_its_pixels(scales, dtype):
    slices = [(noise(seed=k, dtype=dtype) >> 2 * k, *scale) for k, scale in enumerate(scales)]
    values = np.concatenate([real(*one).ravel() for one in slices])
    assert as_tuple(measured(slices)) == pytest.approx(expected(values), rel=1e-12)


def test_a_volume_of_one_scale_needs_no_more_memory_for_more_slices():
    statistics = VolumeStatistics()
    for seed in range(50):
        statistics.add(histogram(noise(seed=seed)), 1.0, 0.0)
    (only,) = statistics._histograms.values()
    assert only.counts.size <= 65536
    assert only.counts.sum() == 50 * noise().size


@pytest.mark.parametrize("padding", [(0, 0), (60000, 65535), (20000, 30000)])
@pytest.mark.parametrize("scales", [[(1.0, 0.0)] * 2, SCALES])
def test_padding_is_left_out_of_the_statistics(padding, scales):
    slices = [(np.where(noise(seed=k) % 3, noise(seed=k), padding[0]), *one) for k, one in enumerate(scales)]
    kept = [(pixels[(pixels < padding[0]) | (pixels > padding[1])], *scale) for pixels, *scale in slices]
    values = np.concatenate([real(*one) for one in kept])
    assert as_tuple(measured(slices, padding)) == pytest.approx(expected(values), rel=1e-12)


@pytest.mark.parametrize("padding", [(-40000, -32769), (-5, 0), (70000, 70001)])
def test_padding_may_lie_beyond_the_pixels(padding):
    pixels = np.array([[1, 2], [3, 4]], np.uint16)
    assert as_tuple(histogram(pixels, padding).intensity(1.0, 0.0)) == as_tuple(
        histogram(pixels).intensity(1, 0)
    )
    assert without_padding(pixels, padding, 1) is pixels


def test_a_slice_of_padding_alone_is_empty_and_adds_nothing_to_its_volume():
    pixels = noise()
    nothing = histogram(np.full((3, 3), 7, np.uint16), (7, 7))
    assert is_empty(nothing.intensity(1.0, 0.0))
    assert np.isnan(nothing.percentiles).all()
    statistics = VolumeStatistics()
    statistics.add(nothing, 1.0, 0.0)
    assert is_empty(statistics.intensity())
    statistics.add(histogram(pixels), 1.0, 0.0)
    assert as_tuple(statistics.intensity()) == as_tuple(histogram(pixels).intensity(1.0, 0.0))


def test_measuring_leaves_the_pixels_alone():
    pixels = noise()
    before = pixels.copy()
    histogram(pixels, (0, 9))
    without_padding(pixels, (0, 40000), 50000)
    assert np.array_equal(pixels, before)


def test_measuring_adds_up_no_histogram_of_a_slice():
    one = histogram(noise())
    before = one.counts.copy()
    statistics = VolumeStatistics()
    for _ in range(3):
        statistics.add(one, 1.0, 0.0)
    assert np.array_equal(one.counts, before)


@pytest.mark.parametrize("slope", [2.0, -2.0])
@pytest.mark.parametrize("padding", [(-32768, -32768), (0, 0), (32767, 32767), (1000, 32767)])
@pytest.mark.parametrize("mode", ["slice", "percentile"])
def test_padding_becomes_black_and_nothing_else_changes(padding, slope, mode):
    pixels = np.random.default_rng(0).integers(100, 900, (20, 20), np.int16)
    padded = pixels.copy()
    padded[:5] = padding[0]
    found = normalize(record(padded, slope, 3.0, padding=padding), mode)
    alone = normalize(record(pixels[5:], slope, 3.0), mode)
    assert not found[:5].any()
    assert np.array_equal(found[5:], alone)


def test_pixels_without_padding_return_as_they_are():
    pixels = noise()
    assert without_padding(pixels, (), 0) is pixels


def test_a_constant_image_is_empty():
    assert is_empty(histogram(np.full((4, 4), 7, np.uint16)).intensity(2.0, 1.0))
    assert not is_empty(histogram(np.array([[7, 8]], np.uint16)).intensity(2.0, 1.0))
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
@pytest.mark.parametrize(("slope", "intercept"), [*SCALES, HUGE_OFFSET])
def test_normalization_agrees_with_a_plain_computation(mode, dtype, slope, intercept):
    pixels, other = noise(dtype=dtype) // 3, noise(dtype=dtype, seed=1)
    found = normalize(record(pixels, slope, intercept, [other]), mode)
    values = real(pixels, slope, intercept)
    whole = real(np.stack([pixels, other]), slope, intercept)
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
