"""The one place that hears of every report: MLflow, Ray's metrics and the terminal are told from here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError
from ray.train import UserCallback
from ray.util import placement_group_table

from mricore.data.storage import Place
from mricore.objective.health import signs_in
from mricore.training.checkpoint import Row
from mricore.training.dashboard import Dashboard
from mricore.training.status import Pace, Status
from mricore.training.telemetry import RowLog, Tracked, log_rest
from mricore.training.terminal import Tell, progress_lines


@contextmanager
def watched(
    tracked: Tracked, run: Place, name: str, workers: int, epochs: int, tell: Tell
) -> Iterator[Watch]:
    """The callback for Ray Train; tells lines of progress while the body runs.

    Controller and driver are on one node (Ray Train sees to that) and share a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="mricore-") as folder:
        status, waiting = Path(folder) / "status.json", Path(folder) / "waiting.json"
        try:
            with progress_lines(status, workers, epochs, partial(waits_for_room, workers), tell):
                yield Watch(RowLog(tracked, run, waiting), status, name)
        finally:
            if kept := log_rest(tracked, run, waiting):
                tell(f"metrics of {kept:,} steps wait for MLflow; the same command logs them")


class Watch(UserCallback):
    """Runs in Ray Train's controller, the one process that writes metrics."""

    def __init__(self, log: RowLog, path: Path, name: str) -> None:
        self.log, self.path, self.name = log, path, name
        self.status, self.pace = Status(), Pace()
        self._dashboard: Dashboard | None = None

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Take the rows of the first worker, which are sums over all workers already."""
        step, total, saved = metrics[0]["step"], metrics[0]["total"], checkpoint is not None
        rows: list[Row] = metrics[0]["rows"]
        self.log.add(rows, now=saved or step == total)
        if len(metrics) != self.status.workers:
            self.pace.restart()
        self.pace.add(rows)
        self.status = replace(
            self.status,
            step=step,
            total=total,
            workers=len(metrics),
            loss=rows[-1].get("loss/total", float("nan")),
            slices_per_s=self.pace.slices_per_s,
            seconds_per_step=self.pace.seconds_per_step,
            data_wait_share=self.pace.data_wait_share,
            signs=tuple(signs_in(rows[-1])),
            checkpoint_step=step if saved else self.status.checkpoint_step,
            unlogged=len(self.log.waiting) if self.log.problem else 0,
            tracking=self.log.problem,
        )
        self.status.write(self.path)
        self.dashboard.report(self.status, self.pace.last_slices, saved)

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Tell which workers failed, before Ray Train starts them again (or gives up)."""
        self.pace.restart()
        self.status = replace(
            self.status, failures=self.status.failures + 1, failure=failure_of(worker_exceptions)
        )
        self.status.write(self.path)
        self.dashboard.failure()

    @property
    def dashboard(self) -> Dashboard:
        """Made where it is used, as its metrics belong to a process."""
        self._dashboard = self._dashboard or Dashboard(self.name)
        return self._dashboard


def waits_for_room(workers: int) -> bool:
    """Whether a group of at most so many workers (Ray does not say whose) waits for free resources."""
    groups = placement_group_table().values()
    return any(group["state"] == "PENDING" and len(group["bundles"]) <= workers for group in groups)


def failure_of(exceptions: Mapping[int, Exception]) -> str:
    """Which workers failed and how; only names of errors, since a message may quote anything."""
    kinds: dict[str, list[int]] = {}
    for rank, error in sorted(exceptions.items()):
        kinds.setdefault(_kind(error), []).append(rank)
    return "; ".join(f"worker {', '.join(map(str, ranks))} failed ({kind})" for kind, ranks in kinds.items())


def _kind(error: BaseException) -> str:
    """The error at the bottom of what Ray wraps it in."""
    seen: BaseException = error
    while (
        inner := getattr(seen, "health_check_failure", None)
        or getattr(seen, "cause", None)
        or (getattr(seen, "_base_exc", None) or seen.__cause__)
    ):
        seen = inner
    return "its process is gone" if isinstance(seen, RayActorError) else type(seen).__name__
