"""What the loop does when a run is ill: pause, roll back or log, and never save what may be ill."""

import copy

import pytest
import torch
from records import small_dataset
from small import small_loop, small_recipe

from mricore.data.storage import place
from mricore.training.initial import initial_state
from mricore.training.loop import IllError
from mricore.training.state import restart

COLD = ("objective.teacher_temperature=1e-5", "objective.teacher_temperature_start=1e-5")
"""Targets are one-hot from the first step on: ill beyond doubt."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    small_dataset(target, 75)
    return target


def cold_recipe(*assignments):
    return small_recipe(*COLD, "train.checkpoint_seconds=1e-9", *assignments)


def test_a_run_that_is_ill_pauses_with_its_sign_and_is_not_saved(dataset):
    loop = small_loop(dataset, cold_recipe("health.patience=3"))
    reports = []
    with pytest.raises(IllError) as caught:
        for report in loop.run():
            reports.append(report)
    assert caught.value.step == 3
    assert caught.value.sign.name == "certain"
    assert [report.save for report in reports] == [False] * 3


def test_a_healthy_run_saves_and_ends(dataset):
    reports = list(small_loop(dataset, small_recipe("train.checkpoint_seconds=1e-9")).run())
    assert [report.save for report in reports] == [True] * 10


def test_an_ill_run_goes_on_if_it_is_told_to(dataset, caplog):
    reports = list(small_loop(dataset, cold_recipe("health.action=log")).run())
    assert reports[-1].step == 10
    assert all(report.save for report in reports)
    assert "entropy" in caplog.text


def test_an_ill_run_goes_back_with_a_lower_rate_until_that_was_tried_often_enough(dataset):
    recipe = cold_recipe("health.action=roll_back", "health.patience=2", "health.max_roll_backs=2")
    begun = []

    def restore(state):
        begun.append(state.step)
        restart(state, initial_state(recipe, torch.device("cpu")))

    loop = small_loop(dataset, recipe, restore=restore)
    seen, rates = [], []
    with pytest.raises(IllError):
        for report in loop.run():
            seen.append(report.step)
            rates.append(loop.state.optimizer.param_groups[0]["lr"])
    assert begun == [2, 2]
    assert seen == [1, 2] * 3
    assert rates[3] == rates[1] / 2 == rates[5] * 2
    assert loop.state.roll_backs == 2


def test_after_going_back_the_run_is_where_it_was(dataset):
    recipe = small_recipe("health.action=roll_back", "train.epochs=1")
    loop = small_loop(dataset, recipe)
    first = copy.deepcopy(loop.state.student.state_dict())
    moved = [report.step for report in loop.run()]
    restart(loop.state, initial_state(recipe, torch.device("cpu")))
    assert loop.state.step == 0
    assert not loop.state.optimizer.state
    for name, tensor in loop.state.student.state_dict().items():
        assert torch.equal(tensor, first[name])
    assert [report.step for report in loop.run()] == moved


@pytest.mark.parametrize("action", ["pause", "log"])
def test_weights_that_a_gradient_without_a_value_ruined_are_never_saved(dataset, action):
    loop = small_loop(dataset, small_recipe("train.checkpoint_seconds=1e-9", f"health.action={action}"))
    weight = loop.state.student.head.layers[0].weight
    weight.register_hook(lambda grad: grad * (float("inf") if loop.state.step == 9 else 1.0))
    saved = {}
    with pytest.raises(IllError) as caught:
        for report in loop.run():
            saved[report.step] = report.save
    assert (caught.value.step, caught.value.sign.name) == (10, "not_finite")
    assert saved == dict.fromkeys(range(1, 10), True)


def test_a_loss_that_is_no_number_can_be_rolled_back_too(dataset):
    recipe = small_recipe("health.action=roll_back", "train.epochs=1")
    loop = small_loop(
        dataset, recipe, restore=lambda state: restart(state, initial_state(recipe, torch.device("cpu")))
    )
    with torch.no_grad():
        loop.state.student.head.prototypes.fill_(float("nan"))
    assert [report.step for report in loop.run()][-1] == loop.total
    assert loop.state.roll_backs == 1
