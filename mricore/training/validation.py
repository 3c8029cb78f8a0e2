"""The encoder that would be shipped, judged while it is trained.

The first worker judges; the others wait for it at their next exchange, whose time-out is half an hour.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mricore.config.schema import Recipe
from mricore.data.manifest import Manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import Place
from mricore.evaluation.labelled import labelled
from mricore.evaluation.protocol import LabelledSlices, embed_slices, judge
from mricore.model.embedder import Embedder
from mricore.training.best import SCORE
from mricore.training.checkpoint import Row, shipped, snapshot
from mricore.training.state import Trained, TrainState

SAMPLE = 400
"""Slices; the same ones every time, and those that the finished encoder is judged on."""


@dataclass
class Validation:
    """k-NN accuracy of each task on a fixed sample of the dataset, and their mean."""

    recipe: Recipe
    dataset: Place
    manifest: Manifest
    _slices: LabelledSlices | None = field(default=None, init=False)

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
            UserError: a shard is missing or damaged.
        """
        slices = self._sample()
        recipe = self.recipe
        encoder = Embedder.from_network(
            network, recipe.model, recipe.augment.global_size, recipe.data.normalization
        ).to(next(network.parameters()).device)
        scores = judge(slices, embed_slices(encoder, slices.images), None, recipe.seed)
        found = {f"validation/{score.task}": score.after.value for score in scores if score.after}
        return found | ({SCORE: float(np.mean(list(found.values())))} if found else {})

    def _sample(self) -> LabelledSlices:
        if self._slices is None:
            records = sample_slices(self.dataset, self.manifest, SAMPLE, self.recipe.seed)
            self._slices = labelled(records, self.recipe.data.normalization)
        return self._slices
