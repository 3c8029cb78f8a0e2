"""One optimisation step: views, teacher, student, losses, update, moving average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mricore.augment.collate import pad_slices
from mricore.augment.crops import draw_views, make_views
from mricore.augment.masks import draw_masks
from mricore.config.schema import Recipe
from mricore.data.batch import FULL_SCALE, Batch
from mricore.data.plan import Stream, generator
from mricore.model.network import Projections
from mricore.objective.communication import Communicator
from mricore.objective.dinov2 import dinov2_losses
from mricore.objective.ema import update_teacher
from mricore.objective.gauges import gauges
from mricore.training.optimizer import set_rates
from mricore.training.rates import Rates
from mricore.training.state import TrainState

Forward = Callable[[Tensor, Tensor, Tensor | None, bool], Projections]
"""``Network.forward``, or the same wrapped in DistributedDataParallel."""


@dataclass(frozen=True)
class Views:
    """Crops of one worker's slices: globals (2b, 1, G, G), locals (L*b, 1, S, S), masks (2b, g, g)."""

    globals: Tensor
    locals: Tensor | None
    masks: Tensor


def views_of(batch: Batch, recipe: Recipe, device: torch.device) -> Views:
    """Cut the crops of a batch; they depend on (seed, epoch, step, position) alone, never on the worker."""
    settings = recipe.augment
    where = (batch.epoch, batch.step)
    parameters = draw_views(generator(recipe.seed, Stream.VIEWS, *where), batch.global_size, settings)
    grid = settings.global_size // recipe.model.patch
    masks = draw_masks(generator(recipe.seed, Stream.MASKS, *where), batch.global_size, grid, settings)
    images, sizes = pad_slices(
        [image.astype(np.float32) / np.float32(FULL_SCALE) for image in batch.slices.images]
    )
    with torch.no_grad():
        globals_, locals_ = make_views(
            images.to(device, non_blocking=True), sizes.to(device), parameters.take(batch.positions), settings
        )
    own = torch.from_numpy(masks[:, batch.positions]).flatten(0, 1).to(device)
    return Views(globals_, locals_ if settings.local_crops else None, own)


def train_step(
    state: TrainState,
    forward: Forward,
    views: Views,
    counts: tuple[int, ...],
    rates: Rates,
    recipe: Recipe,
    communicator: Communicator,
    with_gauges: bool,
) -> dict[str, Tensor]:
    """Advance the state by one step and return this worker's share of each metric.

    Loss shares sum to the global batch's loss; gauges are already divided by the number of workers, so
    that they sum to their mean. All of them stay on the device.
    """
    autocast = torch.autocast(views.globals.device.type, torch.bfloat16, recipe.train.precision == "bfloat16")
    with autocast:
        with torch.no_grad():
            teacher = state.teacher(views.globals, views.masks, None, False)
        student = forward(views.globals, views.masks, views.locals, True)
    losses, state.centers = dinov2_losses(
        student,
        teacher,
        views.masks,
        state.centers,
        recipe.objective,
        rates.teacher_temperature,
        counts,
        communicator,
    )
    state.optimizer.zero_grad(set_to_none=True)
    # DistributedDataParallel averages gradients over workers; the shares are meant to be summed.
    (losses.total * communicator.world_size).backward()
    norm = _clip(state.student, recipe.optimizer.clip_norm)
    set_rates(state.optimizer, rates.lr, rates.weight_decay, rates.freeze_prototypes)
    state.optimizer.step()
    update_teacher(state.teacher, state.student, rates.teacher_momentum)
    state.step += 1
    metrics = {f"loss/{name}": getattr(losses, name).detach() for name in losses.__dataclass_fields__}
    metrics["gauge/gradient_norm"] = norm / communicator.world_size
    if with_gauges:
        measured = gauges(student, teacher, rates.teacher_temperature)
        metrics |= {f"gauge/{name}": value / communicator.world_size for name, value in measured.items()}
    return metrics


def _clip(student: nn.Module, limit: float) -> Tensor:
    """Clip each top-level part of the network by itself, as DINOv2 does; returns the overall norm.

    The mask token is a part of its own.
    """
    groups = [*(part.parameters() for part in student.children()), student.parameters(recurse=False)]
    parts = [[p for p in group if p.grad is not None] for group in groups]
    norms = [nn.utils.clip_grad_norm_(parameters, limit) for parameters in parts if parameters]
    return torch.stack(norms).square().sum().sqrt()
