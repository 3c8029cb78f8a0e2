"""The encoder before and after training, judged on a sample of the dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mricore.config.schema import Recipe
from mricore.data.manifest import Manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import Place
from mricore.evaluation.labelled import labelled
from mricore.evaluation.pca import pca_pictures
from mricore.evaluation.protocol import Score, embed_slices, judge
from mricore.imaging.intensity import normalize
from mricore.model.embedder import Embedder
from mricore.records import SliceRecord
from mricore.training.checkpoint import read_shipped
from mricore.training.initial import initial_network

SAMPLE = 400
PICTURES = 8
FOREGROUND = 0.08
"""A patch brighter than this on average belongs to the body."""

Picture = NDArray[np.floating]


@dataclass(frozen=True)
class Judgement:
    """What the report and the model card need; ``after`` is the encoder that is shipped."""

    after: Embedder
    steps: int
    scores: list[Score]
    samples: list[SliceRecord]
    features: list[tuple[Picture, Picture, Picture]]


def judge_run(checkpoint: Path, recipe: Recipe, dataset: Place, manifest: Manifest) -> Judgement:
    """Compare the network of a checkpoint that is shipped with the one before the first step."""
    info, shipped = read_shipped(checkpoint)
    size = recipe.augment.global_size
    mode = recipe.data.normalization
    after = Embedder.from_network(shipped, recipe.model, size, mode)
    before = Embedder.from_network(initial_network(recipe)[0], recipe.model, size, mode)
    samples = sample_slices(dataset, manifest, SAMPLE, recipe.seed)
    slices = labelled(samples, mode)
    embedded = [embed_slices(embedder, slices.images) for embedder in (after, before)]
    scores = judge(slices, embedded[0], embedded[1], recipe.seed)
    return Judgement(after, info.step, scores, samples, _features(before, after, samples[:PICTURES]))


def _features(
    before: Embedder, after: Embedder, samples: list[SliceRecord]
) -> list[tuple[Picture, Picture, Picture]]:
    """Slice, and its patch features as colours before and after training; at twice the training size."""
    slices = [normalize(record, after.normalization) for record in samples]
    pictures = []
    for embedder in (before, after):
        large = embedder.at_size(2 * embedder.image_size)
        dense = np.concatenate([large.dense(image) for image in slices])
        pictures.append(pca_pictures(dense, _foreground(slices, dense.shape[1])))
    return list(zip(slices, *pictures, strict=True))


def _foreground(slices: list[NDArray[np.float32]], grid: int) -> NDArray[np.bool_]:
    """Patches (N, grid, grid) of the body: brighter than air on average."""
    masks = []
    for image in slices:
        rows = np.linspace(0, image.shape[0], grid + 1).astype(int)
        columns = np.linspace(0, image.shape[1], grid + 1).astype(int)
        sums = np.add.reduceat(np.add.reduceat(image, rows[:-1], 0), columns[:-1], 1)
        areas = np.diff(rows)[:, None] * np.diff(columns)
        masks.append(sums / areas > FOREGROUND)
    return np.stack(masks)
