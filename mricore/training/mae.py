"""MAE as a training method (arXiv 2111.06377): the paper's rival objective on the same encoder and loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mricore.augment.masks import draw_kept_patches
from mricore.augment.transfer import to_device
from mricore.config.schema import Augment, Recipe
from mricore.data.batch import Batch
from mricore.data.plan import Stream, generator
from mricore.model.mae_network import MaeNetwork, Reconstruction, build_mae_network
from mricore.objective.communication import Communicator
from mricore.objective.gauges import token_gauges
from mricore.objective.mae import mae_share
from mricore.training.images import autocast, crops_of
from mricore.training.method import Gauges, Outcome
from mricore.training.parts import joined, number_of_parts, part_rows
from mricore.training.rates import Rates
from mricore.training.state import TrainState


@dataclass(frozen=True)
class MaeViews:
    """One crop per slice (b, 1, G, G), and its patches that are shown (b, n) and hidden (b, m), row-major."""

    crops: Tensor
    keep: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class MaskedAutoencoder:
    """Section 2.1.1 of the paper (arXiv 2506.12186) names it; the settings are MAE's own."""

    recipe: Recipe
    has_teacher = False

    def network(self, generator: torch.Generator) -> MaeNetwork:
        """Encoder, image token and decoder."""
        return build_mae_network(self.recipe.model, self.recipe.mae, generator)

    def views(self, batch: Batch, rates: Rates, device: torch.device) -> list[MaeViews]:
        """Cut one crop per slice, and draw what is hidden."""
        recipe = self.recipe
        crops, _ = crops_of(batch, recipe.seed, rates, one_crop(recipe.augment), 1, device)
        patches = (rates.global_size // recipe.model.patch) ** 2
        rng = generator(recipe.seed, Stream.MASKS, batch.epoch, batch.step)
        drawn = draw_kept_patches(rng, batch.global_size, patches, recipe.mae.mask_ratio)
        return [
            MaeViews(crops[rows], *(to_device(places[batch.positions[rows]], device) for places in drawn))
            for rows in part_rows(len(crops), number_of_parts(batch.counts, recipe.train.accumulate))
        ]

    def targets(
        self, state: TrainState, views: Sequence[MaeViews], rates: Rates, communicator: Communicator
    ) -> list[None]:
        """The crops themselves are the targets."""
        return [None] * len(views)

    def losses(
        self,
        forward: nn.Module,
        views: MaeViews,
        targets: None,
        counts: Sequence[int],
        slices: int,
        communicator: Communicator,
    ) -> Outcome:
        """Mean squared error of the hidden patches."""
        recipe = self.recipe
        with autocast(recipe, views.crops.device):
            made: Reconstruction = forward(views.crops, views.keep, views.hidden)
        total = mae_share(
            made.patches,
            views.crops,
            views.hidden,
            recipe.model.patch,
            recipe.mae.normalize_targets,
            slices,
        )
        return Outcome(total, {"total": total.detach()}, made.image_tokens.detach())

    def gauges(
        self,
        targets: Sequence[None],
        seen: Sequence[Tensor],
        rates: Rates,
        counts: Sequence[int],
        communicator: Communicator,
    ) -> Gauges:
        """Of the image tokens."""
        return token_gauges([joined(seen)], counts, communicator)


def one_crop(settings: Augment) -> Augment:
    """MAE looks at one crop per slice and has no use for local ones."""
    return settings.model_copy(update={"local_crops": 0})
