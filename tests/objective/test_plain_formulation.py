"""The training step against the same method written plainly: losses of every step, weights after three."""

import numpy as np
import pytest
import torch
from plain_dinov2 import PlainDinov2
from small import small_recipe

from mricore.config.schema import Model
from mricore.model.drop_path import draw_kept, kept_of
from mricore.model.masked import masked_patches
from mricore.objective.communication import Alone
from mricore.training.dinov2 import Views
from mricore.training.initial import initial_state
from mricore.training.methods import method_of
from mricore.training.rates import Rates
from mricore.training.step import train_step

SLICES, CPU = 4, torch.device("cpu")
SETTINGS = ("optimizer.clip_norm=0.5", "optimizer.layer_decay=0.8", "objective.koleo_weight=0.3")
VARIANTS = {
    "sam": (),
    "mean of patches": ("model.readout=mean",),
    "centred": ("objective.centering=center",),
    "not centred": ("objective.centering=none",),
    "two heads": ("head.shared=false",),
    "no local crops": ("augment.local_crops=0",),
    "stochastic depth": ("model.drop_path=0.4",),
}


def recipe_of(variant):
    if not variant.startswith("class token"):
        return small_recipe(*SETTINGS, *VARIANTS[variant])
    recipe = small_recipe(*SETTINGS)
    rate = 0.4 if "depth" in variant else 0.0
    model = Model(
        kind="plain", readout="class", dim=24, depth=2, heads=2, patch=8, native_grid=3, drop_path=rate
    )
    return recipe.model_copy(update={"model": model})


@pytest.fixture
def in_float64(monkeypatch):
    """Losses are lifted to float32 by the package; here to float64, so that rounding hides no error."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


def masks_of(rng):
    """1, 2, 4 or 8 masked patches per crop, or none: their reciprocals are exact in any precision."""
    masks = np.zeros((2 * SLICES, 16), bool)
    for mask, count in zip(masks, (1, 0, 2, 0, 4, 8, 8, 2), strict=True):
        mask[rng.permutation(16)[:count]] = True
    return masks.reshape(-1, 4, 4)


def crops_of(generator, recipe):
    """Global and local crops; the two that nothing is masked of are blank, so that they are duplicates."""
    globals_ = torch.rand(2 * SLICES, 1, 32, 32, generator=generator)
    globals_[1] = globals_[3] = 0
    locals_ = torch.rand(recipe.augment.local_crops * SLICES, 1, 16, 16, generator=generator)
    return globals_, locals_ if recipe.augment.local_crops else None


def kept_of_crops(rng, recipe):
    """Which branches of the student count, for global and local crops; None without stochastic depth."""
    rate, depth = recipe.model.drop_path, recipe.model.depth
    counts = (2 * SLICES, recipe.augment.local_crops * SLICES)
    return [draw_kept(rng, depth, count, rate) if rate else None for count in counts]


def named(name):
    return lambda message: f"{name}: {message}"


@pytest.mark.numerics
@pytest.mark.parametrize("variant", [*VARIANTS, "class token", "class token, stochastic depth"])
def test_losses_and_weights_of_three_steps_equal_the_plain_formulation(variant, in_float64):
    recipe = recipe_of(variant)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    state, method = initial_state(recipe, CPU), method_of(recipe)
    with torch.no_grad():  # away from zeros and ones, so that every parameter matters
        for parameter in state.student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    state.teacher.load_state_dict(state.student.state_dict())
    plain = PlainDinov2(recipe, state.student.state_dict())
    for step in range(3):
        globals_, locals_ = crops_of(generator, recipe)
        masks = masks_of(rng)
        rates = Rates(
            lr=1e-2,
            weight_decay=0.1 * step,
            teacher_momentum=0.9 + 0.02 * step,
            teacher_temperature=0.05 + 0.01 * step,
            freeze_prototypes=step == 0,
            trunk_scale=1.0,
            global_size=32,
            local_size=16,
        )
        kept = kept_of_crops(rng, recipe)
        drop = tuple(one if one is None else kept_of(one, np.arange(one.shape[2]), CPU) for one in kept)
        views = Views(globals_, locals_, masked_patches(masks, CPU), drop)
        found = train_step(state, method, state.student, [views], (SLICES,), rates, recipe, Alone())
        plainly = [one if one is None else torch.from_numpy(one) for one in kept]
        expected = plain.step(globals_, locals_, torch.from_numpy(masks), rates, plainly)
        for name, loss in expected.items():
            torch.testing.assert_close(found[f"loss/{name}"], loss, rtol=1e-9, atol=1e-9, msg=named(name))
    for ours, plains in ((state.student, plain.student), (state.teacher, plain.teacher)):
        found = dict(ours.named_parameters())
        for name, expected in plains.named_parameters():
            torch.testing.assert_close(found[name], expected, rtol=1e-8, atol=1e-8, msg=named(name))
