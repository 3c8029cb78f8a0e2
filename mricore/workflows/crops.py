"""What the network sees of some slices, as pictures for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mricore.config.schema import Recipe
from mricore.data.batch import FULL, Batch, Slices
from mricore.imaging.intensity import normalize
from mricore.records import SliceRecord
from mricore.report.figures import with_mask
from mricore.training.dinov2 import Views
from mricore.training.mae import MaeViews
from mricore.training.methods import method_of
from mricore.training.rates import rates_at

Pictures = list[tuple[str, NDArray[Any]]]


def crop_pictures(recipe: Recipe, samples: Sequence[SliceRecord]) -> list[Pictures]:
    """Labelled pictures per slice: itself, its crops, and what of them is hidden; as training cuts them."""
    scaled = [normalize(one, recipe.data.normalization) for one in samples]
    images = [np.rint(values * FULL[1]).astype(np.uint16) for values in scaled]
    count = len(images)
    slices = Slices(images, [FULL] * count, [one.slice_id for one in samples])
    batch = Batch(0, 0, slices, np.arange(count), count, (count,))
    parts = method_of(recipe).views(batch, rates_at(1, 1, recipe), torch.device("cpu"))
    pictures = [one for views in parts for one in _pictures(views, recipe.model.patch)]
    return [
        [("slice", normalize(one, "slice")), *shown] for one, shown in zip(samples, pictures, strict=True)
    ]


def _pictures(views: Any, patch: int) -> list[Pictures]:
    return _of_dinov2(views) if isinstance(views, Views) else _of_mae(views, patch)


def _of_dinov2(views: Views) -> list[Pictures]:
    count = len(views.globals) // 2
    globals_, masks = views.globals[:, 0].numpy(), views.masked.grid.numpy()
    shown: list[Pictures] = [[] for _ in range(count)]
    for place, (crop, mask) in enumerate(zip(globals_, masks, strict=True)):
        number, index = divmod(place, count)
        shown[index].append((f"global crop {number + 1}", crop))
        if mask.any():
            shown[index].append(("as the student sees it", with_mask(crop, mask)))
    for place, crop in enumerate([] if views.locals is None else views.locals[:, 0].numpy()):
        number, index = divmod(place, count)
        shown[index].append((f"local crop {number + 1}", crop))
    return shown


def _of_mae(views: MaeViews, patch: int) -> list[Pictures]:
    grid = views.crops.shape[-1] // patch
    shown: list[Pictures] = []
    for crop, hidden in zip(views.crops[:, 0].numpy(), views.hidden.numpy(), strict=True):
        mask = np.zeros(grid * grid, bool)
        mask[hidden] = True
        shown.append([("crop", crop), ("hidden patches tinted", with_mask(crop, mask.reshape(grid, grid)))])
    return shown
