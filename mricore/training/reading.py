"""How fast a worker's readers deliver a dataset in the order of an epoch, and what storage gives for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from mricore.config.schema import Recipe
from mricore.data.batch import Image
from mricore.data.manifest import Manifest, read_manifest
from mricore.data.plan import EpochPlan, Indices, WindowKey
from mricore.data.readers import PREFETCHED_BYTES, TASK_BYTES, Windows
from mricore.data.storage import Place
from mricore.data.stream import PlannedSource
from mricore.training.forecast import Reading

MOST_WINDOWS = 500
"""Read amplification is counted over so many windows."""
AHEAD_BYTES = {"ray": 2 * TASK_BYTES, "in_process": PREFETCHED_BYTES}
"""Decoded slices that the two sources hold besides those that are being fed; tasks hold and hand over."""


@dataclass(frozen=True)
class Sample:
    """Speed of reading, and slices as they are fed, for the step to be measured on."""

    reading: Reading
    images: list[Image]


def read_sample(recipe: Recipe, dataset: str, wanted: int, seconds: float) -> Sample:
    """Read windows of the first epoch, as a training worker does, for about ``seconds``.

    Keeps ``wanted`` slices, fewer where the dataset has not so many. The first window is not timed, as it
    also opens files and connections.

    Raises:
        UserError: the dataset cannot be read, or has fewer slices than lanes.
    """
    manifest = read_manifest(Place(dataset))
    plan = plan_of(recipe, manifest)
    windows = Windows(Place(dataset), manifest.row_groups, recipe.data)
    images: list[Image] = []
    slices = 0
    wall = cpu = 0.0
    began = time.perf_counter()
    with windows.pool() as pool:
        for number, key in enumerate(_again_and_again(plan)):
            start, start_cpu = time.perf_counter(), time.process_time()
            found = windows.begin(plan, key, pool).result().images
            if number:
                wall += time.perf_counter() - start
                cpu += time.process_time() - start_cpu
                slices += len(found)
            images += found[: max(0, wanted - len(images))]
            enough = number and len(images) >= min(wanted, plan.total)
            if enough and time.perf_counter() - began > seconds:
                break
    reading = Reading(
        slices_per_s=slices / wall,
        cpu_s_per_slice=cpu / slices,
        stored_bytes=sum(shard.bytes for shard in manifest.shards) / plan.total,
        decoded_bytes=float(np.mean([image.nbytes for image in images])),
        amplification=amplification(plan, manifest.row_groups.rows),
    )
    return Sample(reading, images)


def plan_of(recipe: Recipe, manifest: Manifest) -> EpochPlan:
    """The plan of the first epoch.

    Raises:
        UserError: the dataset has fewer slices than lanes.
    """
    size = recipe.train.batch_size
    return PlannedSource(manifest, recipe.data, recipe.seed, size, 0, 1, lambda _, __: iter(())).plan(0)


def steps_of(recipe: Recipe, manifest: Manifest) -> int:
    """Of the whole run.

    Raises:
        UserError: the dataset has fewer slices than lanes.
    """
    return plan_of(recipe, manifest).steps * recipe.train.epochs


def amplification(plan: EpochPlan, rows_of_groups: Indices) -> float:
    """Rows in the row groups that windows touch, for each row that they feed."""
    read = fed = 0
    for key in islice(_keys(plan), MOST_WINDOWS):
        window = plan.window(key)
        read += int(rows_of_groups[np.unique(window.groups)].sum())
        fed += len(window.rows)
    return read / fed


def _keys(plan: EpochPlan) -> Iterator[WindowKey]:
    """All windows of the epoch, round by round."""
    return chain.from_iterable(plan.rounds(range(plan.lanes)))


def _again_and_again(plan: EpochPlan) -> Iterator[WindowKey]:
    while True:
        yield from _keys(plan)
