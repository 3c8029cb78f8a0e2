"""Schedules at their corners, by hand."""

import math

import pytest

from mricore.config.recipes import tiny
from mricore.training.rates import rates_at

PEAK = 4e-3 * math.sqrt(32 / 1024)


def test_rates_at_the_corners_of_a_run():
    at = {step: rates_at(step, 100, tiny()) for step in (0, 5, 10, 25, 55, 99, 100)}
    assert [at[step].lr for step in (0, 5, 10, 55, 100)] == pytest.approx(
        [0, PEAK / 2, PEAK, (PEAK + 1e-6) / 2, 1e-6]
    )
    assert [at[step].weight_decay for step in (0, 100)] == pytest.approx([0.04, 0.1])
    assert [at[step].teacher_momentum for step in (0, 100)] == pytest.approx([0.98, 1])
    assert [at[step].teacher_temperature for step in (0, 25, 99)] == pytest.approx([0.04, 0.07, 0.07])


def test_prototypes_are_frozen_for_the_first_hundredth():
    assert [rates_at(step, 1000, tiny()).freeze_prototypes for step in (0, 9, 10)] == [True, True, False]
