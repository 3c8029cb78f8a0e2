"""DINOv2 as a training method: crops and masks, teacher and student, DINO + iBOT + KoLeo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mricore.augment.masks import draw_masks
from mricore.config.schema import Recipe
from mricore.data.batch import Batch
from mricore.data.plan import Indices, Stream, generator
from mricore.model.drop_path import DropPath, draw_kept, kept_of
from mricore.model.masked import MaskedPatches, masked_patches
from mricore.model.network import Network, Projections, build_network
from mricore.objective.communication import Communicator
from mricore.objective.dinov2 import Targets, dinov2_losses, dinov2_targets
from mricore.objective.gauges import gauges
from mricore.objective.passes import BLOCKWISE, Passes, compiled
from mricore.training.images import autocast, crops_of
from mricore.training.method import Gauges, Outcome
from mricore.training.parts import joined, joined_crops, number_of_parts, part_rows
from mricore.training.rates import Rates
from mricore.training.state import TrainState


@dataclass(frozen=True)
class Views:
    """Crops of one part of a worker's b slices: (2b, 1, G, G) and (L*b, 1, S, S); masked patches."""

    globals: Tensor
    locals: Tensor | None
    masked: MaskedPatches
    drop: tuple[DropPath | None, DropPath | None] = (None, None)
    """Which crops skip which residual branches of the student, for global and local crops."""


@dataclass(frozen=True)
class Answers:
    """The teacher's answers to one part: what they ask of the student, and image logits (2b, K) as they are.

    ``center`` (K,) is what the image logits were centred by, if they were.
    """

    wanted: Targets
    logits: Tensor
    center: Tensor | None


@dataclass(frozen=True)
class Dinov2:
    """Section 4.2 of the paper (arXiv 2506.12186) after DINOv2 (arXiv 2304.07193)."""

    recipe: Recipe
    has_teacher = True

    def network(self, generator: torch.Generator) -> Network:
        """Encoder, image token and heads."""
        return build_network(self.recipe.model, self.recipe.head, generator)

    def views(self, batch: Batch, rates: Rates, device: torch.device) -> list[Views]:
        """Cut the crops of a batch, and draw what is masked; all draws are of the global batch."""
        recipe, settings = self.recipe, self.recipe.augment
        own = len(batch.positions)
        globals_, locals_ = crops_of(batch, recipe.seed, rates, settings, 2, device)
        first, others = globals_.unflatten(0, (2, own)), locals_.unflatten(0, (settings.local_crops, own))
        grid = rates.global_size // recipe.model.patch
        rng = generator(recipe.seed, Stream.MASKS, batch.epoch, batch.step)
        masks = draw_masks(rng, batch.global_size, grid, settings)
        kept = self._kept(batch)
        return [
            Views(
                first[:, rows].flatten(0, 1),
                others[:, rows].flatten(0, 1) if settings.local_crops else None,
                masked_patches(masks[:, batch.positions[rows]].reshape(-1, grid, grid), device),
                self._drop_paths(kept, batch.positions[rows], batch.global_size, device),
            )
            for rows in part_rows(own, number_of_parts(batch.counts, recipe.train.accumulate))
        ]

    def _kept(self, batch: Batch) -> list[NDArray[np.bool_] | None]:
        """Which global and local crops of the global batch keep which branches; None if all do."""
        model = self.recipe.model
        rng = generator(self.recipe.seed, Stream.DROP_PATH, batch.epoch, batch.step)
        return [
            draw_kept(rng, model.depth, crops * batch.global_size, model.drop_path)
            if model.drop_path and crops
            else None
            for crops in self._crops
        ]

    def _drop_paths(
        self,
        kept: Sequence[NDArray[np.bool_] | None],
        positions: Indices,
        size: int,
        device: torch.device,
    ) -> tuple[DropPath | None, DropPath | None]:
        paths: list[DropPath | None] = []
        for crops, one in zip(self._crops, kept, strict=True):
            own = (np.arange(crops)[:, None] * size + positions).ravel()
            paths.append(None if one is None else kept_of(one, own, device))
        return paths[0], paths[1]

    @property
    def _crops(self) -> tuple[int, int]:
        return 2, self.recipe.augment.local_crops

    def targets(
        self, state: TrainState, views: Sequence[Views], rates: Rates, communicator: Communicator
    ) -> list[Answers]:
        """The teacher on whole global crops of all parts; moves the centres."""
        with torch.no_grad(), autocast(self.recipe, views[0].globals.device):
            made: list[Projections] = [
                state.the_teacher(part.globals, part.masked, None, False) for part in views
            ]
        images, patches = (
            joined([one.image_logits for one in made]),
            joined([one.patch_logits for one in made]),
        )
        sizes = [(len(one.image_logits), len(one.patch_logits)) for one in made]
        del made  # parts of the logits, which take much memory and are joined now
        centers, settings = state.the_centers, self.recipe.objective
        targets, state.centers = dinov2_targets(
            images, patches, centers, settings, rates.teacher_temperature, communicator, self._passes
        )
        center = centers.image if settings.centering == "center" else None
        of_images, of_patches = zip(*sizes, strict=True)
        return [
            Answers(Targets(image, patch), logits, center)
            for image, patch, logits in zip(
                targets.image.split(of_images),
                targets.patch.split(of_patches),
                images.split(of_images),
                strict=True,
            )
        ]

    def losses(
        self,
        forward: nn.Module,
        views: Views,
        targets: Answers,
        counts: Sequence[int],
        slices: int,
        communicator: Communicator,
    ) -> Outcome:
        """The student on masked global crops and on local crops."""
        with autocast(self.recipe, views.globals.device):
            student: Projections = forward(views.globals, views.masked, views.locals, True, views.drop)
        losses = dinov2_losses(
            *(student, targets.wanted, views.masked, self.recipe.objective, counts, slices, communicator),
            self._passes,
        )
        terms = {name: getattr(losses, name).detach() for name in losses.__dataclass_fields__}
        return Outcome(losses.total, terms, (student.image_logits.detach(), student.image_tokens.detach()))

    @property
    def _passes(self) -> Passes:
        return compiled() if self.recipe.train.compile else BLOCKWISE

    def gauges(
        self,
        targets: Sequence[Answers],
        seen: Sequence[tuple[Tensor, Tensor]],
        rates: Rates,
        counts: Sequence[int],
        communicator: Communicator,
    ) -> Gauges:
        """Of the teacher's answers and the student's image tokens."""
        logits, tokens = (joined_crops(parts) for parts in zip(*seen, strict=True))
        answers = joined_crops([one.logits for one in targets])
        temperature = rates.teacher_temperature
        return gauges(logits, tokens, answers, targets[0].center, temperature, counts, communicator)
