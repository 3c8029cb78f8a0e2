"""The promises of the epoch plan, over many random shapes."""

import itertools

import numpy as np
import pytest

from mricore.data.plan import EpochPlan
from mricore.errors import UserError


def shape(seed):
    """A random dataset and plan: (rows of each group, keyword arguments)."""
    rng = np.random.default_rng(seed)
    lanes = int(rng.choice([1, 2, 4, 6, 8]))
    groups = rng.integers(1, 40, rng.integers(2, 30)).tolist()
    groups[0] += lanes
    return groups, {
        "seed": seed,
        "epoch": int(rng.integers(0, 5)),
        "batch_size": lanes * int(rng.integers(1, 9)),
        "lanes": lanes,
        "window_steps": int(rng.integers(1, 7)),
    }


def fed(plan, lane, first_step=0):
    """(step, group, row) of everything a lane feeds."""
    for window in plan.windows(lane, first_step):
        for number in range(len(window.offsets) - 1):
            for i in range(window.offsets[number], window.offsets[number + 1]):
                yield window.first_step + number, int(window.groups[i]), int(window.rows[i])


def everything(plan, first_step=0):
    return [list(fed(plan, lane, first_step)) for lane in range(plan.lanes)]


@pytest.mark.parametrize("seed", range(60))
def test_every_slice_is_fed_exactly_once(seed):
    groups, arguments = shape(seed)
    plan = EpochPlan(groups, **arguments)
    rows = [(group, row) for _, group, row in itertools.chain(*everything(plan))]
    assert sorted(rows) == [(group, row) for group, count in enumerate(groups) for row in range(count)]


@pytest.mark.parametrize("seed", range(60))
def test_batches_are_even_and_never_larger_than_asked(seed):
    groups, arguments = shape(seed)
    plan = EpochPlan(groups, **arguments)
    sizes = np.array([plan.lane_sizes(step) for step in range(plan.steps)])
    assert sizes.sum() == sum(groups)
    assert sizes.min() >= 1
    if sum(groups) // arguments["lanes"] >= plan.steps > 1:
        assert np.ptp(sizes) <= 2
    assert sizes.sum(1).max() <= arguments["batch_size"] + arguments["lanes"]


@pytest.mark.parametrize("seed", range(30))
def test_starting_later_continues_the_same_order(seed):
    groups, arguments = shape(seed)
    plan = EpochPlan(groups, **arguments)
    whole = everything(plan)
    for first_step in range(plan.steps + 1):
        rest = everything(EpochPlan(groups, **arguments), first_step)
        assert rest == [[item for item in lane if item[0] >= first_step] for lane in whole]


def test_epochs_and_seeds_differ_and_repeat():
    groups = [16] * 20
    arguments = {"batch_size": 16, "lanes": 4, "window_steps": 4}
    first = everything(EpochPlan(groups, seed=1, epoch=0, **arguments))
    assert first == everything(EpochPlan(groups, seed=1, epoch=0, **arguments))
    assert first != everything(EpochPlan(groups, seed=1, epoch=1, **arguments))
    assert first != everything(EpochPlan(groups, seed=2, epoch=0, **arguments))


def test_replacement_repeats_some_and_misses_about_a_third():
    plan = EpochPlan([32] * 100, seed=0, epoch=0, batch_size=64, lanes=4, window_steps=8, replacement=True)
    rows = [(group, row) for _, group, row in itertools.chain(*everything(plan))]
    assert len(rows) == 3200
    missed = 1 - len(set(rows)) / 3200
    assert 0.33 < missed < 0.41  # 1/e = 0.368


def test_fewer_slices_than_lanes_is_refused():
    with pytest.raises(UserError, match=r"data\.lanes"):
        EpochPlan([3], seed=0, epoch=0, batch_size=8, lanes=4, window_steps=1)


def test_rows_are_shuffled_in_windows_and_row_groups_between_epochs():
    plan = EpochPlan([64], seed=0, epoch=0, batch_size=8, lanes=1, window_steps=8)
    rows = np.concatenate([window.rows for window in plan.windows(0)])
    assert (np.diff(rows) == 1).mean() < 0.2
    epochs = [EpochPlan([8] * 40, seed=0, epoch=e, batch_size=8, lanes=1, window_steps=1) for e in (0, 1)]
    first = [set(next(iter(plan.windows(0))).groups.tolist()) for plan in epochs]
    assert first[0] != first[1]


def test_with_replacement_a_lane_draws_from_the_whole_dataset_and_anew_each_epoch():
    drawn = []
    for epoch in (0, 1):
        plan = EpochPlan(
            [1] * 400, seed=0, epoch=epoch, batch_size=40, lanes=4, window_steps=2, replacement=True
        )
        drawn.append(np.concatenate([window.groups for window in plan.windows(0)]))
    assert np.ptp(drawn[0]) > 300
    assert not np.array_equal(drawn[0], drawn[1])
