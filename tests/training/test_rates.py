"""Schedules at their corners, by hand."""

import math

import pytest

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import paper_literal, tiny
from mricore.config.schema import Augment, Stage
from mricore.training.rates import peak_lr, rates_at, sizes_at

PEAK = 4e-3 * math.sqrt(32 / 1024)


def test_rates_at_the_corners_of_a_run():
    recipe = apply_overrides(tiny(), ["objective.teacher_temperature=0.07"])
    at = {step: rates_at(step, 100, recipe) for step in (0, 5, 10, 25, 55, 99, 100)}
    assert [at[step].lr for step in (0, 5, 10, 55, 100)] == pytest.approx(
        [0, PEAK / 2, PEAK, (PEAK + 1e-6) / 2, 1e-6]
    )
    assert [at[step].weight_decay for step in (0, 100)] == pytest.approx([0.04, 0.1])
    assert [at[step].teacher_momentum for step in (0, 100)] == pytest.approx([0.98, 1])
    assert [at[step].teacher_temperature for step in (0, 25, 99)] == pytest.approx([0.04, 0.07, 0.07])


def test_prototypes_are_frozen_for_the_first_hundredth():
    assert [rates_at(step, 1000, tiny()).freeze_prototypes for step in (0, 9, 10)] == [True, True, False]


def test_a_truncated_schedule_is_the_beginning_of_a_longer_one():
    recipe = apply_overrides(tiny(), ["train.epochs=4", "train.schedule_epochs=40"])
    short = [rates_at(step, 100, recipe) for step in range(100)]
    long = [rates_at(step, 1000, apply_overrides(tiny(), ["train.epochs=40"])) for step in range(100)]
    assert short == long
    assert short[99].lr < PEAK


@pytest.mark.numerics
def test_the_literal_paper_is_still_warming_up_when_it_ends():
    """After 4 of 100 epochs the learning rate is 1.13e-4 on its way to 2.83e-4."""
    recipe = paper_literal()
    assert peak_lr(recipe) == pytest.approx(2.8284e-4, rel=1e-4)
    last = rates_at(47_535, 47_536, recipe)
    assert last.lr == pytest.approx(1.13e-4, rel=0.01)
    assert last.teacher_momentum == pytest.approx(0.9920, abs=1e-4)
    assert last.weight_decay == pytest.approx(0.041, abs=1e-3)
    assert last.teacher_temperature == pytest.approx(0.044, abs=1e-4)


def test_the_trunk_rests_and_then_rises_while_the_heads_train():
    recipe = apply_overrides(
        tiny(), ["optimizer.freeze_trunk_fraction=0.1", "optimizer.ramp_trunk_fraction=0.2"]
    )
    scales = [rates_at(step, 100, recipe).trunk_scale for step in (0, 9, 10, 20, 30, 99)]
    assert scales == pytest.approx([0, 0, 0, 0.5, 1, 1])


def test_stages_change_the_crops_and_the_last_sizes_hold_to_the_end():
    stages = [
        Stage(until=0.25, global_size=64, local_size=32),
        Stage(until=0.5, global_size=96, local_size=48),
    ]
    settings = Augment(global_size=128, local_size=56, stages=stages)
    sizes = [sizes_at(step, 8, settings) for step in range(8)]
    assert sizes == [(64, 32)] * 2 + [(96, 48)] * 2 + [(128, 56)] * 4
