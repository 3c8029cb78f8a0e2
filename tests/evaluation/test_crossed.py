"""Intervals and tests over patients and draws, on tables whose truth is known."""

import itertools

import numpy as np
import pytest
from scipy import stats

from mricore.evaluation.crossed import better_share, components, mean_interval, mean_p, spread


def table(rng, patients, draws, effects=(1.0, 1.0, 1.0), missing=0.0, mean=0.0):
    """Values with normal effects of patients, draws and cells."""
    values = (
        mean
        + effects[0] * rng.normal(size=(patients, 1))
        + effects[1] * rng.normal(size=(1, draws))
        + effects[2] * rng.normal(size=(patients, draws))
    )
    lost = rng.random(values.shape) < missing
    lost[0], lost[:, 0] = False, False  # something is known of each patient and draw
    return np.where(lost, np.nan, values)


CASES = [
    (5, 10, (1, 1, 1), 0.0),
    (10, 3, (0.3, 1, 1), 0.0),
    (10, 10, (1, 0, 1), 0.0),
    (20, 5, (1, 1, 1), 0.3),
    (12, 1, (1, 0, 1), 0.0),
]


@pytest.mark.numerics
@pytest.mark.parametrize(("patients", "draws", "effects", "missing"), CASES)
def test_intervals_hold_the_truth_and_false_alarms_are_rare(patients, draws, effects, missing):
    rng = np.random.default_rng(patients + draws)
    held, alarms, trials = 0, 0, 200
    for _ in range(trials):
        values = [table(rng, patients, draws, effects, missing)]
        interval = mean_interval(values, rng)
        held += interval.low <= 0 <= interval.high
        alarms += mean_p(values, rng) < 0.05
    assert held / trials >= 0.90  # 0.95 wanted, standard error 0.015
    assert alarms / trials <= 0.10


@pytest.mark.numerics
def test_p_is_uniform_if_there_is_no_difference():
    rng = np.random.default_rng(3)
    found = [mean_p([table(rng, 12, 8)], rng) for _ in range(400)]
    assert stats.kstest(found, "uniform").pvalue > 0.001


@pytest.mark.numerics
def test_patients_alone_would_see_differences_that_are_not_there():
    """Why the draws must count: with them ignored, a third of the comparisons is a false alarm."""
    rng = np.random.default_rng(4)
    ignored, counted = 0, 0
    for _ in range(200):
        values = table(rng, 20, 5)
        ignored += mean_p([values.mean(1, keepdims=True)], rng) < 0.05
        counted += mean_p([values], rng) < 0.05
    assert ignored > 50
    assert counted <= 20


def test_a_true_difference_is_found_and_its_sign_kept():
    rng = np.random.default_rng(5)
    gain = table(rng, 10, 10, (0.02, 0.02, 0.03), mean=0.06)
    interval = mean_interval([gain], rng)
    assert 0 < interval.low < 0.06 < interval.high < 0.1
    assert interval.value == pytest.approx(gain.mean())
    assert mean_p([gain], rng) < 0.001
    assert mean_interval([-gain], rng).high < 0


@pytest.mark.numerics
def test_the_error_is_that_of_the_variance_components():
    """For complete tables the squares are those of a two-way analysis of variance."""
    rng = np.random.default_rng(6)
    values = table(rng, 7, 9)
    rows, columns, mean = values.mean(1), values.mean(0), values.mean()
    patients = 9 * ((rows - mean) ** 2).sum() / 6
    draws = 7 * ((columns - mean) ** 2).sum() / 8
    rest = ((values - rows[:, None] - columns + mean) ** 2).sum() / 48
    assert spread([values]).error ** 2 == pytest.approx((patients + draws - rest) / 63)
    found = components(values)
    assert found.rest == pytest.approx(rest)
    assert found.patients == pytest.approx(max((patients - rest) / 9, 0))
    assert found.draws == pytest.approx(max((draws - rest) / 7, 0))


@pytest.mark.numerics
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_components_are_recovered(missing):
    rng = np.random.default_rng(7)
    found = [components(table(rng, 30, 20, (2, 1, 0.5), missing)) for _ in range(60)]
    for name, wanted in (("patients", 4), ("draws", 1), ("rest", 0.25)):
        assert np.mean([getattr(one, name) for one in found]) == pytest.approx(wanted, rel=0.25)


@pytest.mark.numerics
def test_one_draw_is_tested_by_all_sign_patterns():
    rng = np.random.default_rng(8)
    values = rng.normal(0.5, 1, (6, 1))
    totals = [abs((np.array(signs) * values[:, 0]).sum()) for signs in itertools.product((1, -1), repeat=6)]
    assert mean_p([values], rng) == pytest.approx(np.mean([one >= totals[0] - 1e-12 for one in totals]))


def test_tasks_weigh_equally_and_narrow_the_interval():
    rng = np.random.default_rng(9)
    groups = [
        table(rng, patients, 10, (0.1, 0.1, 0.1), mean=mean) for patients, mean in ((8, 0.2), (30, 0.6))
    ]
    both = mean_interval(groups, np.random.default_rng(0))
    assert both.value == pytest.approx((groups[0].mean() + groups[1].mean()) / 2)
    first = mean_interval(groups[:1], np.random.default_rng(0))
    assert both.high - both.low < first.high - first.low


def test_one_patient_has_neither_interval_nor_test():
    rng = np.random.default_rng(0)
    for values in (np.ones((1, 10)), np.empty((0, 0))):
        assert mean_interval([values], rng) is None
        assert mean_p([values], rng) is None
        assert mean_p([np.ones((4, 4)), values], rng) is None


def test_values_that_do_not_vary_are_tested_by_signs():
    rng = np.random.default_rng(0)
    assert mean_p([np.zeros((5, 3))], rng) == 1
    assert mean_p([np.full((5, 3), 0.1)], rng) == pytest.approx(2 / 2**5)
    interval = mean_interval([np.full((5, 3), 0.25)], rng)
    assert (interval.low, interval.value, interval.high) == (0.25, 0.25, 0.25)


def test_intervals_stay_within_the_values():
    values = np.array([[0.97, 0.99, 1.0], [1.0, 1.0, 1.0], [0.2, 0.9, 1.0]])
    interval = mean_interval([values], np.random.default_rng(0))
    assert 0.2 <= interval.low < interval.high <= 1


def test_the_share_of_patients_that_gain_has_wilsons_interval():
    share = better_share(np.array([0.1, 0.2, 0.0, -0.1, 0.3, 0.1, 0.2, 0.4, 0.1, 0.1]))
    assert share.value == pytest.approx(0.85)  # one of ten counts half
    all_of_ten = better_share(np.full(10, 0.5))
    assert (all_of_ten.value, all_of_ten.high) == (1, 1)
    assert all_of_ten.low == pytest.approx(0.7225, abs=1e-4)  # Wilson 1927, 10 of 10


def test_components_need_two_of_each():
    for shape in ((1, 5), (5, 1)):
        with pytest.raises(ValueError, match="two patients and two draws"):
            components(np.ones(shape))
