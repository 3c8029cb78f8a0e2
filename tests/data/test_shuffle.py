"""The order of an epoch, measured against a perfect permutation."""

import numpy as np
import pytest
from shuffle import correlation, groups_per_batch, meeting_chance, met, neighbours, steps_of

from mricore.data.plan import EpochPlan

pytestmark = pytest.mark.numerics

SLICES, PER_VOLUME, WINDOW_STEPS = 20_480, 24, 16
GROUPS = np.full(SLICES // 32, 32)


def epoch(number, seed=0, window_steps=WINDOW_STEPS):
    plan = EpochPlan(GROUPS, seed=seed, epoch=number, batch_size=64, lanes=8, window_steps=window_steps)
    return steps_of(plan, GROUPS)


def test_neighbours_meet_in_a_batch_as_rarely_as_in_a_perfect_permutation():
    """As curation lays slices out. The number that meet is Poisson's within its standard deviation."""
    found = expected = 0.0
    for number in range(12):
        steps = epoch(number)
        pairs = neighbours(SLICES, PER_VOLUME, np.random.default_rng(number))
        found += met(steps, pairs)
        expected += meeting_chance(steps) * len(pairs[0])
    assert expected > 500
    assert abs(found - expected) < 4 * np.sqrt(expected)


def test_whole_volumes_in_order_would_meet_once_per_window():
    """What the global shuffle of curation is for: windows alone bring together a pair in so many steps."""
    pairs = neighbours(SLICES, PER_VOLUME, None)
    share = np.mean([met(epoch(number), pairs) for number in range(4)]) / len(pairs[0])
    assert 0.85 / WINDOW_STEPS < share < 1.05 / WINDOW_STEPS


def test_a_perfect_permutation_is_measured_as_one():
    """The measures themselves, on an order that is known to be perfect."""
    rng = np.random.default_rng(0)
    steps = rng.permutation(np.arange(SLICES) // 64)
    pairs = neighbours(SLICES, PER_VOLUME, None)
    expected = meeting_chance(steps) * len(pairs[0])
    assert meeting_chance(steps) == pytest.approx(63 / (SLICES - 1))
    assert abs(met(steps, pairs) - expected) < 4 * np.sqrt(expected)


def test_a_batch_comes_from_as_many_row_groups_as_its_windows_allow():
    """Each lane gives 8 of the 128 slices of its window, which are of four or five row groups."""
    mean = groups_per_batch(epoch(0), GROUPS)
    hypergeometric = 8 * 4 * (1 - _none_of(128, 32, 8))
    assert hypergeometric < mean < 8 * 5


def _none_of(total, group, drawn):
    """The chance that a sample without replacement misses a group."""
    return float(np.prod([(total - group - i) / (total - i) for i in range(drawn)]))


def test_epochs_have_nothing_to_do_with_each_other():
    """Row groups move as a whole, so there are as many independent places as row groups."""
    epochs = [epoch(number) for number in range(5)]
    found = [abs(correlation(one, other)) for one in epochs for other in epochs if one is not other]
    assert max(found) < 4 / np.sqrt(len(GROUPS))
    assert correlation(epochs[0], epochs[0]) == pytest.approx(1)
