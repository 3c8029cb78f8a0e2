"""One optimisation step: losses, gradients, update, moving average. It never waits for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from mricore.config.schema import Recipe
from mricore.objective.communication import Communicator
from mricore.objective.ema import update_teacher
from mricore.objective.norms import drift, norms, update_norm
from mricore.objective.shards import own
from mricore.training.method import Gauges, Method, Outcome
from mricore.training.optimizer import set_rates
from mricore.training.parallel import exchanging
from mricore.training.parts import part_counts
from mricore.training.rates import Rates
from mricore.training.state import TrainState

EPS = 1e-6
"""Added to a norm before it divides."""


def train_step(
    state: TrainState,
    method: Method,
    forward: nn.Module,
    views: Sequence[Any],
    counts: tuple[int, ...],
    rates: Rates,
    recipe: Recipe,
    communicator: Communicator,
    measured: bool = False,
) -> dict[str, Tensor]:
    """Advance the state by one step and return this worker's share of each metric, on the device.

    ``views`` are this worker's parts of the step, ``counts`` the slices of each worker in all parts. Shares
    sum to the global batch's metric. A ``measured`` step adds the gauges of health, which take time
    and may wait for the device; they are of all workers together, so each gives its part of the mean.
    """
    state.optimizer.zero_grad(set_to_none=True)
    targets = method.targets(state, views, rates, communicator)
    outcomes = _backward(method, forward, views, targets, counts, communicator)
    norm = clip_parts(state.student, recipe.optimizer.clip_norm)
    before = [parameter.detach().clone() for parameter in state.student.parameters()] if measured else []
    set_rates(state.optimizer, rates)
    state.optimizer.step()
    if state.teacher is not None:
        update_teacher(state.teacher, state.student, rates.teacher_momentum)
    state.step += 1
    shared: Gauges = {"gradient_norm": norm}
    if measured:
        shared |= method.gauges(targets, [part.seen for part in outcomes], rates, counts, communicator)
        shared["update_norm"] = update_norm(before, list(state.student.parameters()))
        shared["drift"] = drift(state.anchor, list(state.student.encoder.parameters()))
    metrics = {
        f"loss/{name}": reduce(add, [part.terms[name] for part in outcomes]) for name in outcomes[0].terms
    }
    return metrics | {f"gauge/{name}": value / communicator.world_size for name, value in shared.items()}


def _backward(
    method: Method,
    forward: nn.Module,
    views: Sequence[Any],
    targets: Sequence[Any],
    counts: tuple[int, ...],
    communicator: Communicator,
) -> list[Outcome]:
    """Sum the gradients of all parts; the graph of one is gone before the next begins."""
    outcomes = []
    for number, part in enumerate(zip(views, targets, part_counts(counts, len(views)), strict=True)):
        with exchanging(forward, last=number == len(views) - 1):
            outcome = method.losses(forward, *part, sum(counts), communicator)
            # gradients are averaged over workers; the shares are meant to be summed
            (outcome.total * communicator.world_size).backward()
        outcomes.append(replace(outcome, total=outcome.total.detach()))
    return outcomes


def clip_parts(student: nn.Module, limit: float) -> Tensor:
    """Clip each top-level part of the network by itself, as DINOv2 does; returns the overall norm.

    Parameters of the network itself, like the mask token, are a part of their own.
    """
    groups = [*(part.parameters() for part in student.children()), student.parameters(recurse=False)]
    gradients = [[p.grad for p in group if p.grad is not None] for group in groups]
    parts = [part for part in gradients if part]
    sizes = norms(parts)
    for part, factor in zip(parts, (limit / (sizes + EPS)).clamp(max=1).unbind(), strict=True):
        torch._foreach_mul_([own(gradient) for gradient in part], factor)
    return sizes.square().sum().sqrt()
