"""Recipes: named settings as functions. Each docstring tells source, command, hardware, time and score."""

from __future__ import annotations

from collections.abc import Callable

from mricore.config.schema import Augment, Data, Head, Model, Objective, Optimizer, Recipe, Train
from mricore.errors import UserError


def tiny() -> Recipe:
    """The whole method at a size for a laptop: a check of the machinery, not a useful encoder.

    Source: MRI-CORE (arXiv 2506.12186) section 4.2 at toy size; SAM-style encoder, DINO + iBOT + KoLeo.
    Command: ``make pretrain`` or ``python jobs/pretrain.py tiny``.
    Hardware and time: 2 CPU cores, about 3 minutes on the generated collection.
    Score: see docs/log.md for the measured k-NN accuracy before and after.
    """
    return Recipe(
        name="tiny",
        model=Model(
            dim=96, depth=4, heads=3, patch=8, window=14, global_blocks=(1, 3), native_grid=28, neck_dim=64
        ),
        head=Head(prototypes=512, hidden=256, bottleneck=64),
        augment=Augment(global_size=96, local_size=48, local_crops=4),
        objective=Objective(teacher_momentum=0.98),
        optimizer=Optimizer(lr=4e-3, layer_decay=1.0, weight_decay_end=0.1),
        data=Data(lanes=4, window_steps=8),
        train=Train(epochs=4, batch_size=32, workers=2, gpu=False, precision="float32", log_every=2),
    )


def vitb16_mri() -> Recipe:
    """SAM's ViT-B at production size with a complete four-epoch schedule.

    Source: MRI-CORE (arXiv 2506.12186) section 4.2: base learning rate 4e-4, 128 slices per GPU on four
    GPUs, best after four epochs; schedule lengths are fractions of the run.
    Command: ``python jobs/pretrain.py vitb16_mri --data s3://bucket/dataset``.
    Hardware and time: written for 4 GPUs of 48 GB; not yet measured at this size.
    Score: not yet measured.
    """
    return Recipe(name="vitb16_mri", data=Data(lanes=64))


RECIPES: dict[str, Callable[[], Recipe]] = {"tiny": tiny, "vitb16_mri": vitb16_mri}


def recipe_named(name: str) -> Recipe:
    """The recipe called ``name``.

    Raises:
        UserError: there is no such recipe.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}", f"choose one of: {', '.join(RECIPES)}")
    return RECIPES[name]()
