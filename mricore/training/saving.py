"""Checkpoints leave the training behind: a copy in host memory, then files and storage in the background."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray.train
from ray.train import CheckpointUploadMode

from mricore.training.best import Best
from mricore.training.checkpoint import CheckpointInfo, Row, Snapshot, snapshot, write_checkpoint
from mricore.training.kept import KeptEpochs
from mricore.training.loop import Report
from mricore.training.rows import thinned
from mricore.training.state import TrainState
from mricore.training.stored import new_name

Upload = Callable[[ray.train.Checkpoint, str], ray.train.Checkpoint]


def run_storage() -> Any:
    """Ray Train's storage of this run: a file system, a path in it, and a way to copy a checkpoint there."""
    return ray.train.get_context().get_storage()


@dataclass
class Saver:
    """Hands reports to the controller, in their order and without waiting for storage.

    Ray Train takes a report, with or without a checkpoint, when those before it have been taken, so metrics
    never overtake the checkpoint that they follow, and a checkpoint counts when all of it has been stored.
    """

    state: TrainState
    total: int
    describe: Callable[[int], CheckpointInfo]
    """What the checkpoint of a step says of itself."""
    rank: int
    best: Best | None = None
    kept: KeptEpochs | None = None
    _stored: threading.Event = field(default_factory=threading.Event)
    _unsaved: list[Row] = field(default_factory=list)
    """Rows since the checkpoint before: a kill may come between a checkpoint and the log of its rows."""

    def __post_init__(self) -> None:
        self._stored.set()

    def is_idle(self) -> bool:
        """Whether the checkpoint before is stored, so that another would not take more memory."""
        return self._stored.is_set()

    def hand_over(self, report: Report) -> None:
        """Report the rows, and save if the report says so; all workers call this equally often."""
        rows = thinned(report.rows)
        self._unsaved += rows
        # Ray Train logs what each worker reports, and hands on what the first one does
        metrics = {"rows": [] if self.rank else rows, "step": report.step, "total": self.total}
        arguments: dict[str, Any] = {"checkpoint_upload_mode": CheckpointUploadMode.ASYNC}
        if report.save:
            self._stored.wait()
            copied = snapshot(self.state, self.rank)
            if copied is not None:
                storage, name = run_storage(), new_name()
                path = storage.build_checkpoint_path_from_name(name)
                arguments |= {
                    "checkpoint": ray.train.Checkpoint(path, storage.storage_filesystem),  # when it is there
                    "checkpoint_dir_name": name,
                    "checkpoint_upload_fn": self._upload(copied, report, self._unsaved),
                    "delete_local_checkpoint_after_upload": False,  # it would be the stored one
                }
            self._unsaved = []
        ray.train.report(metrics, **arguments)

    def _upload(self, copied: Snapshot, report: Report, rows: list[Row]) -> Upload:
        """What the background does with a snapshot; storage itself waits for a server that is away."""
        self._stored.clear()
        storage, info = run_storage(), self.describe(report.step)
        score = rows[-1].get(self.best.metric) if self.best else None

        def upload(_: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
            try:
                with tempfile.TemporaryDirectory(prefix="mricore-") as folder:
                    write_checkpoint(Path(folder), copied, info, rows)
                    if self.kept is not None and report.keep is not None:
                        # before the checkpoint counts: no run goes on behind an epoch that is not kept
                        self.kept.keep(Path(folder), report.keep)
                    local = ray.train.Checkpoint.from_directory(folder)
                    kept = storage.persist_current_checkpoint(local, name)
                    if self.best is not None and score is not None:
                        self.best.offer(Path(folder), name, score)
                    return kept
            finally:
                self._stored.set()

        return upload
