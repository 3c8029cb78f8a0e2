"""How many draws and patients are needed, where the answer is known."""

import math

import numpy as np
import pytest
from scipy import stats

from mricore.evaluation.crossed import Components
from mricore.evaluation.power import WANTED, power, smallest_design


@pytest.mark.numerics
def test_power_without_effects_of_draws_is_that_of_a_t_test():
    """Then each patient's mean is one value, and the power of Student's t is a noncentral t."""
    found = power(Components(0.04**2, 0.0, 1e-12), 12, 5, 0.04, np.random.default_rng(0))
    shift = 0.04 / (0.04 / math.sqrt(12))
    critical = stats.t.ppf(0.975, 11)
    wanted = stats.nct.sf(critical, 11, shift) + stats.nct.cdf(-critical, 11, shift)
    assert found.low - 0.02 <= wanted <= found.high + 0.02


def test_no_difference_is_rarely_seen_and_a_large_one_always():
    found = Components(0.01**2, 0.02**2, 0.02**2)
    assert power(found, 10, 10, 0.0, np.random.default_rng(1)).value <= 0.08
    assert power(found, 10, 10, 0.1, np.random.default_rng(1)).value > 0.99


def test_draws_help_where_draws_differ_and_patients_where_patients_do():
    rng = np.random.default_rng(2)
    by_draws = Components(0.001**2, 0.03**2, 0.005**2)
    assert smallest_design(by_draws, 0.03, [200], [3], rng) is None
    chosen = smallest_design(by_draws, 0.03, [10], [3, 5, 10, 20, 50], rng)
    assert chosen.draws in (10, 20)
    assert chosen.power.value >= WANTED
    by_patients = Components(0.03**2, 0.001**2, 0.005**2)
    assert smallest_design(by_patients, 0.03, [4], [100], rng) is None
    assert smallest_design(by_patients, 0.03, [5, 10, 20], [3], rng).patients in (10, 20)


def test_a_design_says_what_it_is():
    chosen = smallest_design(Components(0, 0, 1e-6), 0.5, [5], [3], np.random.default_rng(0))
    assert str(chosen).startswith("5 patients x 3 draws: power 1.000 [0.9")


def test_too_small_a_study_is_refused():
    with pytest.raises(ValueError, match="too few"):
        power(Components(1, 1, 1), 10, 1, 1.0, np.random.default_rng(0))
