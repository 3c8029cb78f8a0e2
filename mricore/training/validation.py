"""The encoder that would be shipped, judged while it is trained.

The first worker judges; the others wait for it at their next exchange, whose time-out is half an hour.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mricore.config.schema import Recipe
from mricore.config.task import load_task
from mricore.data.manifest import Manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import Place
from mricore.evaluation.labelled import labelled
from mricore.evaluation.protocol import LabelledSlices, embed_slices, judge
from mricore.evaluation.proxy import SegmentationProxy
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.reading import read_volumes
from mricore.model.embedder import Embedder
from mricore.training.best import SCORE, SEGMENTATION
from mricore.training.checkpoint import Row, shipped, snapshot
from mricore.training.state import Trained, TrainState

SAMPLE = 400
"""Slices; the same ones every time, and those that the finished encoder is judged on."""


FINER = 2
"""Patch features are taken at this many times the size of training: a grid of 14 patches shows no kidney."""


@dataclass
class Validation:
    """k-NN accuracy of each category on a fixed sample of the dataset, their mean, and Dice if asked."""

    recipe: Recipe
    dataset: Place
    manifest: Manifest
    _slices: LabelledSlices | None = field(default=None, init=False)
    _proxy: SegmentationProxy | None = field(default=None, init=False)

    def of_state(self, state: TrainState, rank: int, workers: int) -> Row:
        """Metrics of what would be shipped now, on the first worker; all workers call this together.

        Raises:
            UserError: a shard is missing or damaged.
        """
        network = state.student if state.teacher is None else state.teacher
        if self.recipe.train.parallel == "fsdp" and workers > 1:  # shares of it are with all workers
            copied = snapshot(state, rank)
            return {} if copied is None else self.of_network(shipped(copied, self.recipe))
        return {} if rank else self.of_network(network)

    def of_network(self, network: Trained) -> Row:
        """Metrics of a network on whatever device it is; the first call reads the slices.

        Raises:
            UserError: a shard is missing or damaged, or the labelled task cannot be read.
        """
        slices = self._sample()
        recipe = self.recipe
        encoder = Embedder.from_network(
            network, recipe.model, recipe.augment.global_size, recipe.data.normalization
        ).to(next(network.parameters()).device)
        scores = judge(slices, embed_slices(encoder, slices.images), None, recipe.seed)
        found = {f"validation/{score.task}": score.after.value for score in scores if score.after}
        found |= {SCORE: float(np.mean(list(found.values())))} if found else {}
        return found | self._segmentation(encoder)

    def _segmentation(self, encoder: Embedder) -> Row:
        if not self.recipe.train.validate_task:
            return {}
        self._proxy = self._proxy or segmentation_proxy(self.recipe)
        return {SEGMENTATION: self._proxy.score(encoder.at_size(FINER * encoder.image_size))}

    def _sample(self) -> LabelledSlices:
        if self._slices is None:
            records = sample_slices(self.dataset, self.manifest, SAMPLE, self.recipe.seed)
            self._slices = labelled(records, self.recipe.data.normalization)
        return self._slices


def segmentation_proxy(recipe: Recipe) -> SegmentationProxy:
    """Read the labelled slices that ``train.validate_task`` and ``train.validate_data`` name.

    Raises:
        UserError: there is no such task, its files cannot be read, or it has too few patients.
    """
    return SegmentationProxy.of(_labelled_task(recipe), recipe.data.normalization, recipe.seed)


def _labelled_task(recipe: Recipe) -> LabelledTask:
    return read_volumes(load_task(recipe.train.validate_task), Path(recipe.train.validate_data))


def with_labelled_task(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths to its labelled task, which has been found to be usable, and its digest.

    A run of hours must not end at its first validation, and workers may start in another folder.

    Raises:
        UserError: as ``segmentation_proxy``.
    """
    if not recipe.train.validate_task:
        return recipe
    labelled_task = _labelled_task(recipe)
    SegmentationProxy.of(labelled_task, recipe.data.normalization, recipe.seed)
    task, data = recipe.train.validate_task, Path(recipe.train.validate_data).expanduser().resolve()
    found = str(Path(task).resolve()) if Path(task).is_file() else task
    named = {"validate_task": found, "validate_data": str(data), "validate_digest": labelled_task.digest}
    changed = recipe.train.model_copy(update=named)
    return recipe.model_copy(update={"train": changed})
