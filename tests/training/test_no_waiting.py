"""A step never waits for the device: nothing in it depends on a value that only the device knows."""

import pytest
import torch
from small import MAE, small_recipe
from test_step import batch_of, slices
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mricore.model.mae_network import MaeNetwork
from mricore.model.network import Network
from mricore.objective.communication import Alone
from mricore.objective.dinov2 import Centers
from mricore.objective.health import Monitor
from mricore.training.methods import method_of
from mricore.training.optimizer import build_optimizer
from mricore.training.rates import rates_at
from mricore.training.state import TrainState
from mricore.training.step import train_step

CPU = torch.device("cpu")
METHODS = {
    "dinov2": (),
    "plain, centring, two heads, drop path": (
        *("model.kind=plain", "model.readout=class", "model.drop_path=0.4"),
        *("objective.centering=center", "head.shared=false"),
    ),
    "in parts": ("model.drop_path=0.4", "train.accumulate=3"),
    "mae": MAE,
}


def networks(recipe):
    """Student and teacher without values."""
    if recipe.method == "mae":
        return MaeNetwork(recipe.model, recipe.mae), None
    return Network(recipe.model, recipe.head), Network(recipe.model, recipe.head).requires_grad_(False)


def state_without_values(recipe):
    student, teacher = networks(recipe)
    zeros = torch.zeros(recipe.head.prototypes)
    return TrainState(
        student=student,
        teacher=teacher,
        optimizer=build_optimizer(student.named_parameters(), recipe.model.depth, recipe.optimizer),
        centers=Centers(zeros, zeros.clone()),
        anchor=list(student.encoder.parameters()),
        monitor=Monitor(recipe.health),
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_step_needs_no_value_from_the_device(name):
    """Tensors without values raise wherever one would be looked at: .item(), nonzero, boolean masks, ..."""
    recipe = small_recipe(*METHODS[name])
    method, rates = method_of(recipe), rates_at(5, 10, recipe)
    batch = batch_of(slices(4))
    with FakeTensorMode(allow_non_fake_inputs=True):
        state = state_without_values(recipe)
        for measured in (False, True):
            views = method.views(batch, rates, CPU)
            metrics = train_step(state, method, state.student, views, (4,), rates, recipe, Alone(), measured)
        with pytest.raises(DataDependentOutputException):
            metrics["loss/total"].item()
    assert state.step == 2
