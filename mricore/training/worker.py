"""What each Ray Train worker runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch
from torch.nn.parallel import DistributedDataParallel

from mricore.config.overrides import validated
from mricore.config.schema import Recipe
from mricore.data.batch import Batch
from mricore.data.manifest import Manifest, read_manifest
from mricore.data.readers import window_reader
from mricore.data.storage import Place
from mricore.data.stream import PlannedSource
from mricore.objective.communication import Alone, Communicator, ProcessGroup
from mricore.training.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from mricore.training.host_memory import keep_freed_memory
from mricore.training.initial import initial_state
from mricore.training.loop import IllError, Loop, Report
from mricore.training.state import TrainState, restart


@dataclass(frozen=True)
class WorkerJob:
    """A worker's whole instruction, as plain data: Ray Train carries a dictionary."""

    recipe: dict[str, Any]
    dataset: str
    ledger: str | None = None
    """Folder in which each worker writes the ids that it trained on; for tests."""


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train from the last checkpoint to the end; returns the last step, or step and sign of an illness."""
    job = WorkerJob(**settings)
    recipe = validated(job.recipe)
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(recipe.train.threads_per_worker)
    device = torch.device("cuda", context.get_local_rank()) if recipe.train.gpu else torch.device("cpu")
    if device.type == "cpu":
        keep_freed_memory()
    dataset = Place(job.dataset)
    manifest = read_manifest(dataset)
    state = initial_state(recipe, device)
    _loaded(ray.train.get_checkpoint(), state)
    source = PlannedSource(
        manifest,
        recipe.data,
        recipe.seed,
        recipe.train.batch_size,
        rank,
        workers,
        window_reader(dataset, manifest, recipe.data),
    )
    communicator: Communicator = ProcessGroup() if workers > 1 else Alone()
    forward = (
        DistributedDataParallel(state.student, broadcast_buffers=False) if workers > 1 else state.student
    )
    loop = Loop(
        state,
        forward,
        source,
        recipe,
        communicator,
        device,
        observe=_ledger(job.ledger, rank),
        restore=lambda state: _restore(state, recipe),
    )
    try:
        for report in loop.run():
            _report(report, loop, manifest, rank)
    except IllError as error:
        return {"ill_at": error.step, "sign": error.sign.says, "remedy": error.sign.remedy}
    return {"step": state.step}


def _loaded(checkpoint: ray.train.Checkpoint | None, state: TrainState) -> bool:
    """Load a checkpoint, if there is one."""
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            load_checkpoint(Path(folder), state)
    return checkpoint is not None


def _restore(state: TrainState, recipe: Recipe) -> None:
    """Back to the last checkpoint, or to the beginning where none was written yet.

    ``get_checkpoint`` knows a new checkpoint on the worker that reported it alone; all must go to the same.
    """
    reported = ray.train.get_all_reported_checkpoints()
    checkpoint = reported[-1].checkpoint if reported else ray.train.get_checkpoint()
    if not _loaded(checkpoint, state):
        restart(state, initial_state(recipe, state.anchor[0].device))


def _report(report: Report, loop: Loop, manifest: Manifest, rank: int) -> None:
    """Hand the rows to the controller; all workers must call this equally often."""
    metrics = {"rows": report.rows, "step": report.step, "total": loop.total}
    if not (report.save and rank == 0):
        ray.train.report(metrics)
        return
    info = CheckpointInfo(report.step, loop.steps_per_epoch, manifest.digest, loop.recipe)
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), loop.state, info, report.rows)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _ledger(folder: str | None, rank: int) -> Callable[[Batch], None] | None:
    if folder is None:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    stream = tempfile.NamedTemporaryFile(  # noqa: SIM115 - open as long as the worker lives
        "w", dir=folder, prefix=f"rank{rank}-", suffix=".tsv", delete=False, buffering=1
    )

    def write(batch: Batch) -> None:
        stream.writelines(f"{batch.epoch}\t{batch.step}\t{name}\n" for name in batch.slices.ids)

    return write
