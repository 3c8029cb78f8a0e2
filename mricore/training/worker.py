"""What each Ray Train worker runs."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch

from mricore.config.overrides import validated
from mricore.config.schema import Recipe
from mricore.data.ahead import EpochsAhead
from mricore.data.batch import Batch
from mricore.data.manifest import Manifest, read_manifest
from mricore.data.readers import window_reader
from mricore.data.storage import Place
from mricore.data.stream import BatchSource, PlannedSource
from mricore.objective.communication import Alone, Communicator, ProcessGroup
from mricore.training.best import Best
from mricore.training.checkpoint import CheckpointInfo
from mricore.training.compiling import compile_networks
from mricore.training.host_memory import keep_freed_memory
from mricore.training.initial import initial_state
from mricore.training.kept import KeptEpochs
from mricore.training.loop import IllError, Loop
from mricore.training.parallel import wrapped
from mricore.training.resume import resumed
from mricore.training.saving import Saver, run_storage
from mricore.training.state import TrainState, restart
from mricore.training.stored import Stored
from mricore.training.validation import Validation

REPORT_SECONDS = 2.0
"""The controller takes one report when it looks, once a second (see ``launch``): more would pile up."""


@dataclass(frozen=True)
class WorkerJob:
    """A worker's whole instruction, as plain data: Ray Train carries a dictionary."""

    recipe: dict[str, Any]
    dataset: str
    run: str
    """Where the run's checkpoints are."""
    found: Sequence[str] = ()
    """Checkpoints, the newest first, that count while Ray Train knows of none."""
    ledger: str | None = None
    """Folder in which each worker writes the ids that it trained on, to a file for each start; for tests."""


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train from the last checkpoint to the end; returns the last step, or step and sign of an illness."""
    try:
        return _trained(WorkerJob(**settings))
    finally:
        # Ray ends the process group next. DDP that is the last to hold it would end it with Python's lock
        # held, for which a thread of the group may wait: for ever.
        gc.collect()


def _trained(job: WorkerJob) -> dict[str, Any]:
    recipe = validated(job.recipe)
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(recipe.train.threads_per_worker)
    device = torch.device("cuda", context.get_local_rank()) if recipe.train.gpu else torch.device("cpu")
    if device.type == "cpu":
        keep_freed_memory()
    dataset = Place(job.dataset)
    manifest = read_manifest(dataset)
    communicator: Communicator = ProcessGroup() if workers > 1 else Alone()
    state = initial_state(recipe, device)
    if recipe.train.compile:
        compile_networks(state)
    forward = wrapped(state, recipe, workers)  # before a checkpoint is loaded
    communicator.time_gradients(forward)
    storage = run_storage()
    stored = Stored(storage.storage_filesystem, storage.experiment_fs_path)
    resume = partial(resumed, stored, job.found, state, communicator)
    resume()
    loop = Loop(
        state,
        forward,
        _source(recipe, dataset, manifest, rank, workers),
        recipe,
        communicator,
        device,
        observe=_ledger(job.ledger, rank),
        restore=lambda state: _restore(resume, state, recipe),
        judge=partial(Validation(recipe, dataset, manifest).of_state, state, rank, workers),
        report_seconds=REPORT_SECONDS,
    )
    keep = recipe.train.keep_best
    best = Best.of(Place(job.run), recipe.train) if keep else None
    kept = KeptEpochs(storage.storage_filesystem, storage.experiment_fs_path)
    saver = Saver(state, loop.total, partial(_info, loop, manifest), rank, best, kept)
    loop.may_save = saver.is_idle
    try:
        for report in loop.run():
            saver.hand_over(report)
    except IllError as error:
        return {"ill_at": error.step, "sign": error.sign.says, "remedy": error.sign.remedy}
    return {"step": state.step}


def _source(recipe: Recipe, dataset: Place, manifest: Manifest, rank: int, workers: int) -> BatchSource:
    source = PlannedSource(
        manifest,
        recipe.data,
        recipe.seed,
        recipe.train.batch_size,
        rank,
        workers,
        window_reader(dataset, manifest, recipe.data),
    )
    return EpochsAhead(source, recipe.train.epochs, recipe.data.window_steps)


def _info(loop: Loop, manifest: Manifest, step: int) -> CheckpointInfo:
    return CheckpointInfo(step, loop.steps_per_epoch, manifest.digest, loop.recipe)


def _restore(resume: Callable[[], bool], state: TrainState, recipe: Recipe) -> None:
    """Back to the last checkpoint, or to the beginning where none was written yet."""
    if not resume():
        restart(state, initial_state(recipe, state.anchor[0].device))


def _ledger(folder: str | None, rank: int) -> Callable[[Batch], None] | None:
    if folder is None:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    stream = tempfile.NamedTemporaryFile(  # noqa: SIM115 - open as long as the worker lives
        "w", dir=folder, prefix=f"{time.time():.3f}-rank{rank}-", suffix=".tsv", delete=False, buffering=1
    )

    def write(batch: Batch) -> None:
        stream.writelines(f"{batch.epoch}\t{batch.step}\t{name}\n" for name in batch.slices.ids)

    return write
