"""Intervals and tests on problems whose truth is known."""

import itertools

import numpy as np
import pytest

from mricore.evaluation.statistics import RESAMPLES, bootstrap_mean, holm, paired_difference


def patients_of(sizes):
    return np.repeat(np.arange(len(sizes)), sizes).astype(str)


def test_intervals_cover_the_truth_and_know_that_slices_are_not_independent():
    rng = np.random.default_rng(4)
    patients = patients_of([15] * 20)
    covered = 0
    for trial in range(100):
        values = np.repeat(rng.normal(size=20), 15) + rng.normal(size=300) * 0.3
        interval = bootstrap_mean(values, patients, np.random.default_rng(trial))
        covered += interval.low <= 0 <= interval.high
    assert 84 <= covered <= 99
    slices = bootstrap_mean(values, np.arange(300).astype(str), np.random.default_rng(0))
    assert interval.high - interval.low > 2 * (slices.high - slices.low)


def test_the_value_is_the_plain_mean_and_the_seed_decides():
    values, patients = np.arange(30.0) ** 2, patients_of([1, 2, 3, 4, 5, 6, 9])
    first = bootstrap_mean(values, patients, np.random.default_rng(1))
    assert first.value == values.mean()
    assert first == bootstrap_mean(values, patients, np.random.default_rng(1))
    assert first != bootstrap_mean(values, patients, np.random.default_rng(2))


@pytest.mark.parametrize("count", [8, 15])
def test_a_paired_test_finds_a_planted_gain_and_not_noise(count):
    rng = np.random.default_rng(5)
    patients = patients_of([10] * count)
    base = rng.random(10 * count)
    noise = rng.normal(0, 0.05, 10 * count)
    gain = paired_difference(base, base + 0.1 + noise, patients, np.random.default_rng(0))
    loss = paired_difference(base + 0.1 + noise, base, patients, np.random.default_rng(0))
    nothing = paired_difference(base, base + noise, patients, np.random.default_rng(0))
    assert gain.p < 0.01
    assert loss.p < 0.01
    assert gain.interval.low > 0.05
    assert loss.interval.value == pytest.approx(-gain.interval.value)
    assert nothing.p > 0.05


@pytest.mark.numerics
def test_few_patients_are_tested_over_all_sign_patterns():
    rng = np.random.default_rng(6)
    sizes = [4, 1, 7, 3, 5]
    first, second, patients = rng.random(20), rng.random(20), patients_of(sizes)
    sums = [(second - first)[patients == str(n)].sum() for n in range(5)]
    totals = [
        abs(sum(sign * one for sign, one in zip(signs, sums, strict=True)))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    wanted = np.mean([total >= totals[0] - 1e-12 for total in totals])
    assert paired_difference(first, second, patients, rng).p == pytest.approx(wanted)


def test_no_difference_at_all_has_p_one():
    for count in (4, 20):
        same = np.ones(count)
        assert paired_difference(same, same, np.arange(count).astype(str), np.random.default_rng(0)).p == 1


@pytest.mark.parametrize("count", [4, 12, 40])
def test_false_alarms_are_as_rare_as_promised(count):
    rng = np.random.default_rng(count)
    alarms, trials = 0, 150
    for trial in range(trials):
        sizes = rng.integers(5, 40, count)
        difference = np.repeat(rng.normal(0, 0.2, count), sizes) + rng.normal(0, 0.3, sizes.sum())
        result = paired_difference(
            np.zeros(len(difference)), difference, patients_of(sizes), np.random.default_rng(trial)
        )
        alarms += result.p < 0.05
    assert alarms / trials < 0.1  # 0.05 expected, standard error 0.018
    if count == 4:
        assert alarms == 0  # the smallest possible p is 2 / 16


def test_random_patterns_never_give_p_zero():
    gain = paired_difference(np.zeros(30), np.ones(30), np.arange(30).astype(str), np.random.default_rng(0))
    assert gain.p == pytest.approx(1 / (RESAMPLES + 1))
    assert gain.p > 0


@pytest.mark.numerics
def test_holm_equals_the_table_and_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
    rng = np.random.default_rng(7)
    p = rng.random(9) ** 3
    corrected = holm(list(p))
    for level in rng.random(50):
        rejected, left = set(), list(np.argsort(p))
        while left and p[left[0]] <= level / len(left):
            rejected.add(left.pop(0))
        assert {index for index in range(9) if corrected[index] <= level} == rejected
