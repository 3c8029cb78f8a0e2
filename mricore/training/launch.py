"""Start or continue a training on Ray Train, and name runs so that the same command finds its run again."""

from __future__ import annotations

import errno
import hashlib
import json
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
)
from ray.train.torch import TorchConfig, TorchTrainer

from mricore.config.schema import Recipe
from mricore.data.cluster import cluster_cpus, cluster_gpus
from mricore.data.manifest import Manifest
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training.checkpoint import STATE, rows_of
from mricore.training.telemetry import MlflowReporter, Tracked, history, log_rows, progress_lines
from mricore.training.worker import WorkerJob, train_worker

RECORD = "run.json"


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


PLACEMENT: dict[str, Any] = {
    "data": {"source"},
    "train": {
        "workers",
        "cpus_per_worker",
        "gpu",
        "threads_per_worker",
        "checkpoint_seconds",
        "keep_checkpoints",
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


def check_resources(recipe: Recipe) -> None:
    """Refuse a run that the cluster could only wait for.

    Raises:
        UserError: more CPUs or GPUs are asked for than the cluster has, or no CUDA where the recipe
            needs it.
    """
    train = recipe.train
    needed = train.workers * train.cpus_per_worker
    if needed > cluster_cpus():
        raise UserError(
            f"the recipe needs {needed:g} CPUs and the cluster has {cluster_cpus():g}",
            "lower --set train.workers or --set train.cpus_per_worker",
        )
    if train.gpu and train.workers > cluster_gpus():
        raise UserError(
            f"the recipe needs {train.workers} GPUs and the cluster has {cluster_gpus():g}",
            "lower --set train.workers, or --set train.gpu=false to train on CPUs",
        )


def train(
    recipe: Recipe, dataset: Place, runs: Place, name: str, tracked: Tracked, ledger: str | None = None
) -> Checkpoint:
    """Train to the end and return the last checkpoint; continues a run that was interrupted.

    Raises:
        UserError: resources are missing, the run is ill, or a shard is damaged.
    """
    check_resources(recipe)
    job = WorkerJob(recipe.model_dump(mode="json"), dataset.uri, ledger)
    settings = recipe.train
    file_system, storage_path = runs.arrow("")
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=asdict(job),
        torch_config=TorchConfig(backend="nccl" if settings.gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=settings.workers,
            use_gpu=settings.gpu,
            resources_per_worker={"CPU": settings.cpus_per_worker} | ({"GPU": 1} if settings.gpu else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage_path,
            storage_filesystem=file_system,
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=settings.keep_checkpoints),
            callbacks=[MlflowReporter(tracked)],
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    _log_missing(tracked, Place(runs.joined(name)))
    try:
        with progress_lines(tracked):
            result = trainer.fit()
    except TrainingFailedError as error:
        raise _cause(error) from error
    return _outcome(result)


def _log_missing(tracked: Tracked, run: Place) -> None:
    """Log what was reported with a checkpoint but not logged, as the controller was killed in between."""
    if not run.exists():
        return
    states = [file.path for file in run.files() if fnmatch(file.path, f"checkpoint_*/{STATE}")]
    rows = [row for path in states for row in rows_of(run.read_bytes(path))]
    if rows:
        known = {row["step"] for row in history(tracked)}
        log_rows(tracked, [row for row in rows if row["step"] not in known])


def _outcome(result: Any) -> Checkpoint:
    returned = result.return_value or {}
    if "ill_at" in returned:
        raise UserError(
            f"training paused at step {returned['ill_at']}: {returned['sign']}",
            f"{returned['remedy']} (this begins a new run); or let the run go on from its last checkpoint "
            "with --set health.action=roll_back (a lower learning rate) or log (as it is)",
        )
    if result.checkpoint is None:
        raise RuntimeError("training ended without a checkpoint")
    return result.checkpoint


def _cause(error: TrainingFailedError) -> Exception:
    """The user's error inside a worker's failure, or a full disk, if that is what it was."""
    for failure in getattr(error, "worker_failures", {}).values():
        seen: BaseException | None = failure
        while seen is not None:
            if isinstance(seen, UserError):
                return seen
            if isinstance(seen, OSError) and seen.errno == errno.ENOSPC:
                return UserError("a disk is full", "free some space; the same command then continues")
            seen = getattr(seen, "cause", None) or seen.__cause__
    return error


def open_checkpoint(runs: Place, record: RunRecord) -> Checkpoint:
    """The checkpoint that a record names."""
    file_system, path = runs.arrow(f"{record.name}/{record.checkpoint}")
    return Checkpoint(path, file_system)
