"""Keyed noise: standard normal, independent, and a function of key and place alone."""

import numpy as np
import pytest
import torch
from scipy import stats

from mricore.augment.noise import normal_pairs

COUNT = 224 * 224


def keys(*values):
    return torch.from_numpy(np.array(values, np.uint32).view(np.int32))


@pytest.mark.numerics
@pytest.mark.parametrize("key", [0, 1, 2, 2**16, 2**31, 0xDEADBEEF, 2**32 - 1])
def test_each_key_gives_standard_normal_numbers(key):
    for part in normal_pairs(keys(key), COUNT):
        numbers = part[0].double().numpy()
        assert abs(numbers.mean()) < 4 / np.sqrt(COUNT)
        assert numbers.std() == pytest.approx(1, abs=4 / np.sqrt(2 * COUNT))
        assert stats.kstest(numbers, "norm").pvalue > 1e-4
        assert stats.kurtosis(numbers) == pytest.approx(0, abs=4 * np.sqrt(24 / COUNT))


@pytest.mark.numerics
def test_neighbours_parts_and_keys_are_independent():
    """Keys that differ in one bit or by one; the limit is for some thousand correlations of true noise."""
    near = keys(*range(8), *(1 << bit for bit in range(3, 32)))
    limit = 4.7 / np.sqrt(COUNT)
    parts = [part.double() for part in normal_pairs(near, COUNT)]
    between = torch.corrcoef(torch.cat(parts))
    assert (between - torch.eye(len(between))).abs().max() < limit
    for numbers in (*parts, parts[0].square() - 1):
        for lag in (1, 2, 3, 223, 224, 225, 448):
            correlation = (numbers[:, lag:] * numbers[:, :-lag]).mean(1) / numbers.square().mean(1)
            assert correlation.abs().max() < limit


def test_the_numbers_of_a_key_do_not_depend_on_the_others_or_on_how_many():
    together = normal_pairs(keys(7, 8, 9), 1000)
    for part, alone in zip(together, normal_pairs(keys(8), 1000), strict=True):
        assert torch.equal(part[1:2], alone)
    for part, fewer in zip(together, normal_pairs(keys(7, 8, 9), 100), strict=True):
        torch.testing.assert_close(part[:, :100], fewer, atol=1e-6, rtol=0)


@pytest.mark.numerics
def test_numbers_equal_those_of_unsigned_arithmetic():
    """The reference works in 32 unsigned bits, so that wrapping around is defined."""

    def mixed(words):
        words = (words ^ (words >> np.uint32(16))) * np.uint32(0x21F0AAAD)
        words = (words ^ (words >> np.uint32(15))) * np.uint32(0x735A2D97)
        return words ^ (words >> np.uint32(15))

    with np.errstate(over="ignore"):
        words = mixed(mixed(np.arange(5000, dtype=np.uint32)) ^ mixed(np.uint32(0x9E3779B9)))
    assert len(np.unique(words)) == len(words)
    radius = np.sqrt(-2 * np.log(((words >> np.uint32(16)) + 0.5) / 65536))
    angle = 2 * np.pi * (words & np.uint32(0xFFFF)) / 65536
    first, second = normal_pairs(keys(0x9E3779B9), 5000)
    np.testing.assert_allclose(first[0], radius * np.cos(angle), atol=1e-5)
    np.testing.assert_allclose(second[0], radius * np.sin(angle), atol=1e-5)
