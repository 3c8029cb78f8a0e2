"""From a batch of stored slices to crops on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mricore.augment.collate import pad_slices
from mricore.augment.crops import make_views
from mricore.augment.draws import draw_views
from mricore.augment.transfer import to_device
from mricore.config.schema import Augment, Recipe
from mricore.data.batch import Batch
from mricore.data.plan import Stream, generator
from mricore.training.rates import Rates


def crops_of(
    batch: Batch, seed: int, rates: Rates, settings: Augment, globals_: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """``globals_`` global crops (g * b, 1, G, G) and the local crops (L * b, 1, S, S) of a batch.

    The draws are those of the global batch, so a slice's crops do not depend on which worker has it. Slices
    travel to the device as they are stored, in 16 bits, and the host does not wait for them.
    """
    rng = generator(seed, Stream.VIEWS, batch.epoch, batch.step)
    parameters = draw_views(rng, batch.global_size, settings, globals_).take(batch.positions)
    images, sizes = pad_slices(batch.slices.images, device)
    levels = to_device(np.array(batch.slices.levels, np.float32), device)
    with torch.no_grad():
        return make_views(images, sizes, parameters, settings, rates.global_size, rates.local_size, levels)


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """bfloat16 where it is safe, if the recipe asks for it."""
    return torch.autocast(device.type, torch.bfloat16, recipe.train.precision == "bfloat16")
