"""Start or continue a training on Ray Train, and name runs so that the same command finds its run again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from typing import Any

from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.torch import TorchConfig, TorchTrainer

from mricore.config.schema import Recipe, Train
from mricore.data.cluster import cluster_cpus, cluster_gpus
from mricore.data.manifest import Manifest
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training.best import Best
from mricore.training.checkpoint import STATE, epochs_of, rows_of
from mricore.training.failures import EndsAtOnce, cause_of, interruptible
from mricore.training.patience import patient
from mricore.training.stored import Stored
from mricore.training.telemetry import Tracked, history, log_rows
from mricore.training.terminal import Tell, to_terminal
from mricore.training.watch import watched
from mricore.training.worker import WorkerJob, train_worker

RECORD = "run.json"


class PausedError(UserError):
    """The training stopped itself, as it was ill."""


RESIZE_SECONDS = 60.0
"""How often a run with fewer workers than it could have looks for machines that came back. Growing costs a
restart from the last checkpoint."""
CONTROLLER = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # reports are taken and dead workers seen so often
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",  # then what is there of train.min_workers has to do
}
"""Ray Train's own settings, unless the environment has others; by default they are 2 and 60 s."""


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run between processes; stored beside its checkpoints."""

    name: str
    mlflow_run_id: str
    finished: bool = False
    checkpoint: str = ""
    model_version: str = ""
    alias: str = ""
    report: str = ""
    illness: str = ""
    """Signs that the last report showed."""
    judged_by: str = ""
    """Digest of the labelled task that it began to be judged on, if there was one."""


PLACEMENT: dict[str, Any] = {
    "data": {"source", "readers"},
    "train": {
        "workers",
        "min_workers",
        "parallel",
        "cpus_per_worker",
        "gpu",
        "gpus_per_worker",
        "threads_per_worker",
        "compile",
        "checkpoint_seconds",
        "checkpoint_share",
        "keep_checkpoints",
        "validate_steps",
        "validate_task",
        "validate_data",
        "validate_digest",
        "keep_best",
        "keep_epochs",
        "max_failures",
        "log_every",
    },
    "model": {"attention"},
    "initial": {"weights"},
    "health": True,
}
"""Settings of where and how safely a run happens, not of what is learned; they may change on the way."""


def identity(recipe: Recipe) -> str:
    """All settings that decide what is learned, as text."""
    return recipe.model_dump_json(exclude=PLACEMENT)


def run_name(recipe: Recipe, manifest: Manifest, attempt: int = 0) -> str:
    """A name that is the same for the same training on the same slices, on whatever machines."""
    text = f"{identity(recipe)}/{manifest.digest}"
    suffix = f"-{attempt}" if attempt else ""
    return f"{recipe.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}{suffix}"


def training(runs: Place, recipe: Recipe, manifest: Manifest) -> Place:
    """What a command holds that trains this recipe on these slices, at whatever attempt."""
    return Place(runs.joined(run_name(recipe, manifest)))


def read_record(runs: Place, name: str) -> RunRecord | None:
    """The record of an earlier run of that name, if any.

    Raises:
        UserError: the record is damaged or of another version.
    """
    path = f"{name}/{RECORD}"
    if not runs.exists(path):
        return None
    try:
        return RunRecord(**json.loads(runs.read_bytes(path)))
    except (ValueError, TypeError):
        raise UserError(f"{runs.joined(path)} is damaged", f"remove {runs.joined(name)}") from None


def write_record(runs: Place, record: RunRecord) -> None:
    """Store the record."""
    runs.write_bytes(f"{record.name}/{RECORD}", json.dumps(asdict(record), indent=1).encode())


def gpus_needed(train: Train) -> float:
    """GPUs that a training takes at least."""
    return train.fewest_workers * train.gpus_per_worker if train.gpu else 0.0


def check_resources(recipe: Recipe) -> None:
    """Refuse a run that the cluster could only wait for.

    Raises:
        UserError: more CPUs or GPUs are asked for than the cluster has, or no CUDA where the recipe
            needs it.
    """
    train = recipe.train
    workers = train.fewest_workers
    needed = workers * train.cpus_per_worker
    if needed > cluster_cpus():
        raise UserError(
            f"the recipe needs {needed:g} CPUs and the cluster has {cluster_cpus():g}",
            "lower --set train.workers or --set train.cpus_per_worker",
        )
    gpus = gpus_needed(train)
    if gpus > cluster_gpus():
        raise UserError(
            f"the recipe needs {gpus:g} GPUs and the cluster has {cluster_gpus():g}",
            "lower --set train.workers, or --set train.gpu=false to train on CPUs",
        )


def train(
    recipe: Recipe,
    dataset: Place,
    runs: Place,
    name: str,
    tracked: Tracked,
    ledger: str | None = None,
    callbacks: Sequence[UserCallback] = (),
    tell: Tell = to_terminal,
) -> Checkpoint:
    """Train to the end and return the checkpoint to ship; continues a run that was interrupted.

    The caller holds the run (``claimed``), or knows that nobody else trains it.

    That is the last one, or with ``train.keep_best`` the one that was judged best. ``callbacks`` also hear of
    every report, in Ray Train's controller; a ``UserError`` that one raises there ends the run. ``tell`` gets
    lines of progress.

    Raises:
        UserError: resources are missing, the run is ill, no checkpoint is whole, a shard is damaged, or
            storage is away for more than a minute.
        KeyboardInterrupt: ctrl-C; the run can go on.
    """
    check_resources(recipe)
    run = Place(runs.joined(name))
    found = _mended(run)
    _log_missing(tracked, run)
    job = WorkerJob(recipe.model_dump(mode="json"), dataset.uri, run.uri, found, ledger)
    with (
        _controller_settings(),
        interruptible(),
        watched(tracked, run, name, recipe.train.workers, recipe.train.epochs, tell) as watch,
    ):
        try:
            result = _trainer(recipe, job, runs, name, [watch, EndsAtOnce(), *callbacks]).fit()
        except TrainingFailedError as error:
            raise cause_of(error) from error
    last = _outcome(result, run, found)
    best = Best.of(run, recipe.train).kept() if recipe.train.keep_best else []
    return _checkpoint(run, best[0].name) if best else last


def _trainer(
    recipe: Recipe, job: WorkerJob, runs: Place, name: str, callbacks: list[UserCallback]
) -> TorchTrainer:
    settings = recipe.train
    file_system, storage_path = runs.arrow("")
    return TorchTrainer(
        train_worker,
        train_loop_config=asdict(job),
        torch_config=TorchConfig(backend="nccl" if settings.gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(settings.min_workers, settings.workers)
            if settings.min_workers
            else settings.workers,
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
            use_gpu=settings.gpu,
            resources_per_worker={"CPU": settings.cpus_per_worker}
            | ({"GPU": settings.gpus_per_worker} if settings.gpu else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage_path,
            storage_filesystem=patient(file_system),
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=settings.keep_checkpoints),
            callbacks=callbacks,
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )


@contextmanager
def _controller_settings() -> Iterator[None]:
    """Ray Train hands these variables on from the driver to its controller."""
    fresh = {name: value for name, value in CONTROLLER.items() if name not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        for name in fresh:
            os.environ.pop(name, None)


def _mended(run: Place) -> list[str]:
    """Checkpoints of an interrupted run, which is made ready to go on; see ``Stored.mended``."""
    file_system, path = run.arrow("")
    return Stored(patient(file_system), path).mended()


def _log_missing(tracked: Tracked, run: Place) -> None:
    """Log what was reported with a checkpoint but not logged, as the controller was killed in between."""
    if not run.exists():
        return
    states = [file.path for file in run.files() if fnmatch(file.path, f"checkpoint_*/{STATE}")]
    rows = [row for path in states for row in rows_of(run.read_bytes(path))]
    if rows:
        known = {row["step"] for row in history(tracked)}
        log_rows(tracked, [row for row in rows if row["step"] not in known])


def epochs_done(run: Place) -> int:
    """Whole epochs behind the newest checkpoint of a run; 0 without one."""
    states = [file.path for file in run.files() if fnmatch(file.path, f"checkpoint_*/{STATE}")]
    return epochs_of(run.read_bytes(max(states))) if states else 0


def _outcome(result: Any, run: Place, found: Sequence[str]) -> Checkpoint:
    """The last checkpoint; of a run that was at its end Ray Train may not know it (see ``Stored.mended``)."""
    returned = result.return_value or {}
    if "ill_at" in returned:
        raise PausedError(
            f"training paused at step {returned['ill_at']}: {returned['sign']}",
            f"{returned['remedy']} (this begins a new run); or let the run go on from its last checkpoint "
            "with --set health.action=roll_back (a lower learning rate) or log (as it is)",
        )
    if result.checkpoint is None and not found:
        raise RuntimeError("training ended without a checkpoint")
    return result.checkpoint or _checkpoint(run, found[0])


def _checkpoint(run: Place, name: str) -> Checkpoint:
    file_system, path = run.arrow(name)
    return Checkpoint(path, file_system)


def open_checkpoint(runs: Place, record: RunRecord) -> Checkpoint:
    """The checkpoint that a record names."""
    return _checkpoint(Place(runs.joined(record.name)), record.checkpoint)
