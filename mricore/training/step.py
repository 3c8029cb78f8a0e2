"""One optimisation step: losses, gradients, update, moving average. It never waits for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mricore.config.schema import Recipe
from mricore.objective.communication import Communicator
from mricore.objective.ema import update_teacher
from mricore.objective.norms import drift, update_norm
from mricore.training.method import Gauges, Method
from mricore.training.optimizer import set_rates
from mricore.training.rates import Rates
from mricore.training.state import TrainState


def train_step(
    state: TrainState,
    method: Method,
    forward: nn.Module,
    views: Any,
    counts: tuple[int, ...],
    rates: Rates,
    recipe: Recipe,
    communicator: Communicator,
    measured: bool = False,
) -> dict[str, Tensor]:
    """Advance the state by one step and return this worker's share of each metric, on the device.

    Shares sum to the global batch's metric. A ``measured`` step adds the gauges of health, which take time
    and may wait for the device; they are of all workers together, so each gives its part of the mean.
    """
    outcome = method.losses(state, forward, views, rates, counts, communicator)
    state.optimizer.zero_grad(set_to_none=True)
    # DistributedDataParallel averages gradients over workers; the shares are meant to be summed.
    (outcome.total * communicator.world_size).backward()
    norm = clip_parts(state.student, recipe.optimizer.clip_norm)
    before = [parameter.detach().clone() for parameter in state.student.parameters()] if measured else []
    set_rates(state.optimizer, rates)
    state.optimizer.step()
    if state.teacher is not None:
        update_teacher(state.teacher, state.student, rates.teacher_momentum)
    state.step += 1
    shared: Gauges = {"gradient_norm": norm}
    if measured:
        shared |= outcome.gauges()
        shared["update_norm"] = update_norm(before, list(state.student.parameters()))
        shared["drift"] = drift(state.anchor, list(state.student.encoder.parameters()))
    metrics = {f"loss/{name}": value for name, value in outcome.terms.items()}
    return metrics | {f"gauge/{name}": value / communicator.world_size for name, value in shared.items()}


def clip_parts(student: nn.Module, limit: float) -> Tensor:
    """Clip each top-level part of the network by itself, as DINOv2 does; returns the overall norm.

    Parameters of the network itself, like the mask token, are a part of their own.
    """
    groups = [*(part.parameters() for part in student.children()), student.parameters(recurse=False)]
    parts = [[p for p in group if p.grad is not None] for group in groups]
    norms = [nn.utils.clip_grad_norm_(parameters, limit) for parameters in parts if parameters]
    return torch.stack(norms).square().sum().sqrt()
