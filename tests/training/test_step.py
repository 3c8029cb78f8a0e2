"""One step: who sees what, what is updated and in which order, and on what the views depend."""

import numpy as np
import pytest
import torch
from small import small_recipe

from mricore.data.batch import Batch, Slices
from mricore.objective.communication import Alone
from mricore.training.rates import Rates
from mricore.training.state import initial_state
from mricore.training.step import Views, train_step, views_of

CPU = torch.device("cpu")


def views():
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(8, 4, 4, dtype=torch.bool)
    masks[:4, 1] = True
    crops = [torch.rand(8, 1, side, side, generator=generator) for side in (32, 16)]
    return Views(crops[0], crops[1], masks)


def test_the_teacher_sees_whole_crops_and_follows_the_updated_student():
    recipe = small_recipe()
    state = initial_state(recipe, CPU)
    with torch.no_grad():
        for parameter in state.teacher.parameters():
            parameter.add_(0.01)
    seen = []
    for who, network in (("teacher", state.teacher), ("student", state.student)):
        network.register_forward_pre_hook(
            lambda _, given, who=who: seen.append((who, given[2] is None, given[3]))
        )
    before = [parameter.clone() for parameter in state.teacher.parameters()]
    rates = Rates(1e-2, 0.0, 0.75, 0.05, freeze_prototypes=True)
    train_step(state, state.student, views(), (4,), rates, recipe, Alone(), False)
    assert seen == [("teacher", True, False), ("student", False, True)]  # (who, no locals, hides patches)
    for parameter, old, student in zip(
        state.teacher.parameters(), before, state.student.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter, 0.75 * old + 0.25 * student.detach())
    assert state.step == 1


def test_frozen_prototypes_stay_and_thawed_ones_move():
    recipe = small_recipe()
    start = initial_state(recipe, CPU).student.head.prototypes
    for frozen in (True, False):
        state = initial_state(recipe, CPU)
        rates = Rates(1e-2, 0.0, 0.75, 0.05, freeze_prototypes=frozen)
        train_step(state, state.student, views(), (4,), rates, recipe, Alone(), False)
        assert torch.equal(state.student.head.prototypes, start) == frozen


@pytest.mark.parametrize("changed", [{"epoch": 1}, {"step": 1}, {"seed": 1}])
def test_views_depend_on_epoch_step_and_seed(changed):
    image = np.random.default_rng(0).integers(0, 65536, (40, 40)).astype(np.uint16)

    def made(epoch=0, step=0, seed=0):
        batch = Batch(epoch, step, Slices([image], ["a"]), np.arange(1), 1, (1,))
        return views_of(batch, small_recipe(f"seed={seed}"), CPU).globals

    assert torch.equal(made(), made())
    assert not torch.equal(made(), made(**changed))
