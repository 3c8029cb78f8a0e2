"""DINOv2 as a training method: crops and masks, teacher and student, DINO + iBOT + KoLeo."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from mricore.augment.masks import draw_masks
from mricore.config.schema import Recipe
from mricore.data.batch import Batch
from mricore.data.plan import Stream, generator
from mricore.model.drop_path import DropPath, draw_kept, kept_of
from mricore.model.masked import MaskedPatches, masked_patches
from mricore.model.network import Network, Projections, build_network
from mricore.objective.communication import Communicator
from mricore.objective.dinov2 import dinov2_losses
from mricore.objective.gauges import gauges
from mricore.training.images import autocast, crops_of
from mricore.training.method import Outcome
from mricore.training.rates import Rates
from mricore.training.state import TrainState


@dataclass(frozen=True)
class Views:
    """Crops of one worker's slices: globals (2b, 1, G, G), locals (L*b, 1, S, S), masked patches."""

    globals: Tensor
    locals: Tensor | None
    masked: MaskedPatches
    drop: tuple[DropPath | None, DropPath | None] = (None, None)
    """Which crops skip which residual branches of the student, for global and local crops."""


@dataclass(frozen=True)
class Dinov2:
    """Section 4.2 of the paper (arXiv 2506.12186) after DINOv2 (arXiv 2304.07193)."""

    recipe: Recipe
    has_teacher = True

    def network(self, generator: torch.Generator) -> Network:
        """Encoder, image token and heads."""
        return build_network(self.recipe.model, self.recipe.head, generator)

    def views(self, batch: Batch, rates: Rates, device: torch.device) -> Views:
        """Cut the crops of a batch, and draw what is masked."""
        recipe, settings = self.recipe, self.recipe.augment
        globals_, locals_ = crops_of(batch, recipe.seed, rates, settings, 2, device)
        grid = rates.global_size // recipe.model.patch
        rng = generator(recipe.seed, Stream.MASKS, batch.epoch, batch.step)
        masks = draw_masks(rng, batch.global_size, grid, settings)
        own = masks[:, batch.positions].reshape(-1, grid, grid)
        return Views(
            globals_,
            locals_ if settings.local_crops else None,
            masked_patches(own, device),
            self._drop_paths(batch, device),
        )

    def _drop_paths(self, batch: Batch, device: torch.device) -> tuple[DropPath | None, DropPath | None]:
        model, locals_ = self.recipe.model, self.recipe.augment.local_crops
        if not model.drop_path:
            return None, None
        rng = generator(self.recipe.seed, Stream.DROP_PATH, batch.epoch, batch.step)
        paths: list[DropPath | None] = []
        for crops in (2, locals_):
            kept = draw_kept(rng, model.depth, crops * batch.global_size, model.drop_path) if crops else None
            own = (np.arange(crops)[:, None] * batch.global_size + batch.positions).ravel()
            paths.append(None if kept is None else kept_of(kept, own, device))
        return paths[0], paths[1]

    def losses(
        self,
        state: TrainState,
        forward: nn.Module,
        views: Views,
        rates: Rates,
        counts: tuple[int, ...],
        communicator: Communicator,
    ) -> Outcome:
        """Teacher on whole global crops, student on masked ones and on local crops; moves the centres."""
        with autocast(self.recipe, views.globals.device):
            with torch.no_grad():
                teacher: Projections = state.the_teacher(views.globals, views.masked, None, False)
            student: Projections = forward(views.globals, views.masked, views.locals, True, views.drop)
        centers = state.the_centers
        losses, state.centers = dinov2_losses(
            student,
            teacher,
            views.masked,
            centers,
            self.recipe.objective,
            rates.teacher_temperature,
            counts,
            communicator,
        )
        terms = {name: getattr(losses, name).detach() for name in losses.__dataclass_fields__}
        center = centers.image if self.recipe.objective.centering == "center" else None
        measure = partial(gauges, student, teacher, center, rates.teacher_temperature, counts, communicator)
        return Outcome(losses.total, terms, measure)
