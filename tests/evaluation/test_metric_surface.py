"""Normalised surface Dice against MONAI, a slow reference of its own, and cases that are known by hand."""

import itertools
import math
import warnings

import numpy as np
import pytest

from mricore.evaluation.metrics.surface import normalized_surface_dice

SPACINGS = [(1.0, 1.0, 1.0), (3.0, 0.8, 0.8), (0.5, 2.0, 1.3), (6.5, 1.6, 1.6)]
TOLERANCES = [0.0, 1.0, 2.0, 9.7]


def blobs(seed, shape=(7, 24, 21)):
    """Two masks that have something to do with each other; some touch the border, some lie apart."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape).reshape(3, -1).T
    first, second = (np.zeros(shape, bool) for _ in range(2))
    for _ in range(rng.integers(1, 4)):
        centre, radius = rng.uniform(0, shape), rng.uniform(1.5, 7)
        moved = centre + rng.normal(0, 1.5, 3)
        first |= (np.linalg.norm((grid - centre) * (2, 1, 1), axis=1) < radius).reshape(shape)
        second |= (np.linalg.norm((grid - moved) * (2, 1, 1), axis=1) < radius + 0.5).reshape(shape)
    noise = rng.random(shape) < 0.002
    return first ^ noise, second


def by_monai(first, second, spacing, tolerance):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    one_hot = [torch.from_numpy(np.stack([~mask, mask]))[None] for mask in (first, second)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of empty masks
        return float(metrics.compute_surface_dice(*one_hot, [tolerance], spacing=spacing)[0, 0])


def by_definition(first, second, spacing, tolerance):
    """Surfaces voxel by voxel, and all distances between them."""

    def points(mask):
        found = []
        for place in np.argwhere(mask):
            for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
                other = place.copy()
                other[axis] += step
                if not 0 <= other[axis] < mask.shape[axis] or not mask[tuple(other)]:
                    found.append(place * np.array(spacing))
                    break
        return np.array(found).reshape(-1, mask.ndim)

    here, there = points(first), points(second)
    if not len(here) and not len(there):
        return math.nan
    if not len(here) or not len(there):
        return 0.0
    distances = np.sqrt(((here[:, None] - there[None]) ** 2).sum(-1))
    near = (distances.min(0) <= tolerance + 1e-9).sum() + (distances.min(1) <= tolerance + 1e-9).sum()
    return near / (len(here) + len(there))


@pytest.mark.numerics
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_it_equals_monai_and_the_definition(spacing, tolerance):
    for seed in range(6):
        pair = blobs(seed)
        found = normalized_surface_dice(*pair, spacing, tolerance)
        assert found == pytest.approx(by_monai(*pair, spacing, tolerance), abs=1e-6)
        assert found == pytest.approx(by_definition(*pair, spacing, tolerance), abs=1e-12)


@pytest.mark.numerics
def test_it_equals_monai_on_outlines_in_a_plane():
    for seed in range(6):
        first, second = (mask[3] for mask in blobs(seed))
        found = normalized_surface_dice(first, second, (0.8, 1.1), 1.5)
        assert found == pytest.approx(by_monai(first, second, (0.8, 1.1), 1.5), abs=1e-6, nan_ok=True)


@pytest.mark.numerics
def test_it_equals_the_definition_on_masks_of_pure_noise():
    rng = np.random.default_rng(3)
    for trial in range(60):
        shape = tuple(rng.integers(2, 7, rng.integers(1, 4)))
        first, second = (rng.random(shape) < rng.random() for _ in range(2))
        spacing = tuple(rng.uniform(0.3, 4, len(shape)))
        tolerance = float(rng.choice([0, 0.5, 1.7, 6, 40]))
        found = normalized_surface_dice(first, second, spacing, tolerance)
        wanted = by_definition(first, second, spacing, tolerance)
        assert found == pytest.approx(wanted, abs=1e-12, nan_ok=True), trial
        assert normalized_surface_dice(second, first, spacing, tolerance) == pytest.approx(
            wanted, abs=1e-12, nan_ok=True
        )


def test_a_deviation_of_exactly_the_tolerance_is_accepted():
    first, second = np.zeros((2, 30), bool)
    first[5:15], second[8:18] = True, True
    assert normalized_surface_dice(first, second, (0.1,), 0.3) == 1  # 3 * 0.1 > 0.3 in floating point
    assert normalized_surface_dice(first, second, (0.1,), 0.299) == 0


def test_empty_masks_are_undefined_together_and_zero_alone():
    empty, full = np.zeros((3, 5, 5), bool), np.zeros((3, 5, 5), bool)
    full[1, 2, 2] = True
    assert math.isnan(normalized_surface_dice(empty, empty, (1, 1, 1), 1))
    assert normalized_surface_dice(empty, full, (1, 1, 1), 100) == 0
    assert normalized_surface_dice(full, empty, (1, 1, 1), 100) == 0


def test_a_single_slice_has_an_outline_and_no_surface():
    first, second = (mask[3] for mask in blobs(1))
    assert first.any()
    alone = normalized_surface_dice(first[None], second[None], (5.0, 1, 1), 1)
    assert alone == normalized_surface_dice(first, second, (1, 1), 1)
    thick = normalized_surface_dice(np.stack([first] * 2), np.stack([second] * 2), (5.0, 1, 1), 1)
    assert thick != alone  # with two slices, all voxels are surface


def test_a_volume_of_one_voxel_is_judged():
    one = np.ones((1, 1, 1), bool)
    assert normalized_surface_dice(one, one, (1, 1, 1), 0) == 1
    assert normalized_surface_dice(one, ~one, (1, 1, 1), 5) == 0


def test_spacing_decides_what_is_near():
    """A cube moved by one slice: within 2 mm if slices are 2 mm apart, and not if they are 3 mm apart."""
    first, second = (np.zeros((12, 9, 9), bool) for _ in range(2))
    first[2:7, 2:7, 2:7], second[3:8, 2:7, 2:7] = True, True
    assert normalized_surface_dice(first, second, (2, 1, 1), 2) == 1
    # of each 98 surface voxels, the 25 of the end that sticks out and 9 inside of the other mask
    assert normalized_surface_dice(first, second, (3, 1, 1), 0.5) == pytest.approx(1 - 34 / 98)


def test_it_stays_exact_where_the_tolerance_spans_many_voxels():
    first, second = blobs(2, (6, 40, 40))
    for tolerance in (1.2, 1.3, 5.0, 30.0):
        found = normalized_surface_dice(first, second, (2.0, 0.25, 0.25), tolerance)
        wanted = by_definition(first, second, (2.0, 0.25, 0.25), tolerance)
        assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "spacing", "tolerance"),
    [((2, 3), (1, 1, 1), 1), ((2, 3), (1, 0), 1), ((2, 3), (1, math.nan), 1), ((2, 3), (1, 1), -1)],
)
def test_what_cannot_be_measured_is_refused(shape, spacing, tolerance):
    mask = np.ones(shape, bool)
    with pytest.raises(ValueError, match=r"spacing|tolerance"):
        normalized_surface_dice(mask, mask, spacing, tolerance)
