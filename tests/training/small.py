"""A recipe and an in-process loop small enough to run in a second."""

import torch

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import tiny
from mricore.data.manifest import read_manifest
from mricore.data.readers import window_reader
from mricore.data.stream import PlannedSource
from mricore.objective.communication import Alone
from mricore.training.initial import initial_state
from mricore.training.loop import Loop

SMALL = [
    "model.dim=24",
    "model.depth=2",
    "model.drop_path=0",
    "model.heads=2",
    "model.global_blocks=[1]",
    "model.native_grid=8",
    "model.neck_dim=8",
    "head.prototypes=32",
    "head.hidden=32",
    "head.bottleneck=16",
    "augment.global_size=32",
    "augment.local_size=16",
    "augment.local_crops=2",
    "train.batch_size=16",
    "train.epochs=2",
    "train.log_every=1",
    "data.source=in_process",
    "data.lanes=4",
    "data.window_steps=3",
]


FEW_REPORTS = [*SMALL, "train.log_every=4", "data.source=ray"]
"""For jobs under Ray, where each report is a barrier of all workers; with the default source."""


MAE = (
    *("method=mae", "model.readout=mean", "mae.decoder_dim=32"),
    *("augment.noise_probability=0", "augment.blur_probability=[0,0,0]"),
)
"""Masked autoencoding instead of DINOv2."""


def small_recipe(*assignments):
    return apply_overrides(apply_overrides(tiny(), SMALL), assignments)


def small_loop(dataset, recipe, communicator=None, state=None, forward=None, **options):
    """A loop over the whole recipe in this process (or as one worker of a group)."""
    communicator = communicator or Alone()
    manifest = read_manifest(dataset)
    state = state or initial_state(recipe, torch.device("cpu"))
    source = PlannedSource(
        manifest,
        recipe.data,
        recipe.seed,
        recipe.train.batch_size,
        communicator.rank,
        communicator.world_size,
        window_reader(dataset, manifest, recipe.data),
    )
    return Loop(state, forward or state.student, source, recipe, communicator, torch.device("cpu"), **options)


def losses(loop):
    """{step: total loss} of a run of the loop."""
    return {int(row["step"]): row["loss/total"] for report in loop.run() for row in report.rows}
