"""One step: who sees what, what is updated and in which order, and on what the views depend."""

import numpy as np
import pytest
import torch
from small import MAE, small_recipe

from mricore.data.batch import FULL, Batch, Slices
from mricore.model.masked import masked_patches
from mricore.objective.communication import Alone
from mricore.training.dinov2 import Views
from mricore.training.initial import initial_state
from mricore.training.methods import method_of
from mricore.training.rates import Rates, rates_at
from mricore.training.step import train_step

CPU = torch.device("cpu")


def views():
    generator = torch.Generator().manual_seed(0)
    masks = np.zeros((8, 4, 4), bool)
    masks[:4, 1] = True
    crops = [torch.rand(8, 1, side, side, generator=generator) for side in (32, 16)]
    return Views(crops[0], crops[1], masked_patches(masks, CPU))


def rates(freeze_prototypes=False, trunk_scale=1.0):
    return Rates(1e-2, 0.0, 0.75, 0.05, freeze_prototypes, trunk_scale, 32, 16)


def step(recipe, state, **changes):
    return train_step(
        state,
        method_of(recipe),
        state.student,
        [views()],
        (4,),
        rates(**changes),
        recipe,
        Alone(),
        measured=True,
    )


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
    step(recipe, state, freeze_prototypes=True)
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
        step(recipe, state, freeze_prototypes=frozen)
        assert torch.equal(state.student.head.prototypes, start) == frozen


def test_a_resting_trunk_stays_while_the_heads_move_and_its_drift_is_zero():
    recipe = small_recipe()
    start = initial_state(recipe, CPU).student
    for scale in (0.0, 1.0):
        state = initial_state(recipe, CPU)
        found = step(recipe, state, trunk_scale=scale)
        moved = not torch.equal(
            state.student.encoder.blocks[0].attn.qkv.weight, start.encoder.blocks[0].attn.qkv.weight
        )
        assert moved == bool(scale)
        assert not torch.equal(state.student.head.layers[0].weight, start.head.layers[0].weight)
        assert bool(found["gauge/drift"] > 0) == bool(scale)


@pytest.mark.numerics
def test_update_and_drift_are_distances_of_weights():
    recipe = small_recipe()
    state, start = initial_state(recipe, CPU), initial_state(recipe, CPU)
    found = step(recipe, state)

    def norm(tensors):
        return torch.cat([tensor.detach().flatten() for tensor in tensors]).double().norm()

    pairs = list(zip(state.student.parameters(), start.student.parameters(), strict=True))
    expected = norm(new - old for new, old in pairs) / norm(old for _, old in pairs)
    torch.testing.assert_close(found["gauge/update_norm"].double(), expected, rtol=1e-4, atol=0)
    first = list(start.student.encoder.parameters())
    moved = zip(state.student.encoder.parameters(), first, strict=True)
    expected = norm(new - old for new, old in moved) / norm(first)
    torch.testing.assert_close(found["gauge/drift"].double(), expected, rtol=1e-4, atol=0)


def batch_of(images, epoch=0, step=0, positions=None, size=None):
    count = len(images)
    positions = np.arange(count) if positions is None else positions
    slices = Slices(images, [FULL] * count, [str(i) for i in range(count)])
    return Batch(epoch, step, slices, positions, size or count, (count,))


def slices(count=1):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 65536, (40 + index, 44)).astype(np.uint16) for index in range(count)]


@pytest.mark.parametrize("settings", [(), MAE])
@pytest.mark.parametrize("changed", [{"epoch": 1}, {"step": 1}, {"seed": 1}])
def test_views_depend_on_epoch_step_and_seed(changed, settings):
    def made(epoch=0, step=0, seed=0):
        recipe = small_recipe(f"seed={seed}", *settings)
        (seen,) = method_of(recipe).views(batch_of(slices(), epoch, step), rates_at(0, 10, recipe), CPU)
        return seen.crops if settings else seen.globals

    assert torch.equal(made(), made())
    assert not torch.equal(made(), made(**changed))


def test_views_of_a_slice_do_not_depend_on_who_else_is_in_the_worker_s_part():
    recipe = small_recipe("model.drop_path=0.3", "augment.noise_probability=1")
    method, at = method_of(recipe), rates_at(0, 10, recipe)
    images = slices(6)
    (whole,) = method.views(batch_of(images), at, CPU)
    own = np.array([1, 4])
    (part,) = method.views(batch_of([images[i] for i in own], positions=own, size=6), at, CPU)
    places = np.concatenate([own, own + 6])
    torch.testing.assert_close(part.globals, whole.globals[places], atol=1e-5, rtol=0)
    torch.testing.assert_close(part.locals, whole.locals[np.concatenate([own, own + 6])], atol=1e-5, rtol=0)
    assert torch.equal(part.masked.grid, whole.masked.grid[places])
    for mine, everyone in zip(part.drop[0], whole.drop[0], strict=True):
        for branch, all_rows in zip(mine, everyone, strict=True):
            assert set(places[branch.rows.numpy()].tolist()) == set(all_rows.rows.tolist()) & set(
                places.tolist()
            )
            assert branch.scale == all_rows.scale


def test_an_image_of_16_bits_fills_the_range_and_what_is_padded_is_never_seen():
    recipe = small_recipe(
        "augment.noise_probability=0", "augment.jitter_probability=0", "augment.bias_probability=0"
    )
    white = [np.full(shape, 65535, np.uint16) for shape in ((30, 60), (50, 20))]
    (seen,) = method_of(recipe).views(batch_of(white), rates_at(0, 10, recipe), CPU)
    torch.testing.assert_close(seen.globals, torch.ones_like(seen.globals))
