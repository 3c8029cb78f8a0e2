"""MLflow: one run per training, written by one process, readable while it grows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from ray.train import UserCallback
from sqlalchemy.exc import SQLAlchemyError

from mricore.data.progress import Progress
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.objective.health import signs_in
from mricore.training.checkpoint import Row
from mricore.training.place import SQLITE, Home

logger = logging.getLogger(__name__)
METRICS_PER_CALL = 900
PARAMS_PER_CALL = 90


@dataclass(frozen=True)
class Tracked:
    """A run in MLflow."""

    tracking_uri: str
    experiment_id: str
    run_id: str

    @property
    def client(self) -> MlflowClient:
        """A client of the tracking server."""
        return MlflowClient(self.tracking_uri, self.tracking_uri)


def start_run(
    home: Home, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Tracked:
    """Create the run, and the database and experiment if they are new.

    Done by the driver before any worker exists, since concurrent first use breaks a SQLite database.

    Raises:
        UserError: the tracking server does not answer.
    """
    with answering(home.tracking_uri):
        client = MlflowClient(home.tracking_uri, home.tracking_uri)
        found = client.get_experiment_by_name(experiment)
        experiment_id = (
            found.experiment_id if found else client.create_experiment(experiment, home.local_artifacts)
        )
        run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
        entries = [Param(key, str(value)) for key, value in params.items()]
        for i in range(0, len(entries), PARAMS_PER_CALL):
            client.log_batch(run.info.run_id, params=entries[i : i + PARAMS_PER_CALL])
        return Tracked(home.tracking_uri, experiment_id, run.info.run_id)


def require_tracking(home: Home) -> None:
    """Make sure that MLflow answers, before long work begins; makes the SQLite database if it is new.

    Raises:
        UserError: it does not.
    """
    _require_writable_sqlite(home.tracking_uri)
    with answering(home.tracking_uri):
        MlflowClient(home.tracking_uri, home.tracking_uri).search_experiments(max_results=1)


def reopen_run(home: Home, run_id: str, goes_on: bool) -> Tracked:
    """An earlier run, marked as running if it ``goes_on``.

    Raises:
        UserError: the tracking server does not answer, or does not know the run.
    """
    with answering(home.tracking_uri):
        client = MlflowClient(home.tracking_uri, home.tracking_uri)
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            raise UserError(
                f"this run was begun before, and MLflow at {home.tracking_uri} does not know it",
                "set MLFLOW_TRACKING_URI (or the working folder) as it was then, or use --fresh",
            ) from None
        if goes_on:
            client.update_run(run_id, status="RUNNING")
        return Tracked(home.tracking_uri, run.info.experiment_id, run_id)


def end_run(tracked: Tracked, status: str) -> None:
    """Close the run with "FINISHED" or "FAILED".

    Raises:
        UserError: the tracking server does not answer.
    """
    with answering(tracked.tracking_uri):
        tracked.client.set_terminated(tracked.run_id, status)


@contextmanager
def answering(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow raises when its server or database fails into one clear line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(
            f"MLflow at {tracking_uri} does not work ({type(error).__name__})",
            "check MLFLOW_TRACKING_URI and that the server is up; the same command then continues",
        ) from error


def _require_writable_sqlite(tracking_uri: str) -> None:
    """MLflow tries for minutes to make a database where it may not."""
    if tracking_uri.startswith(SQLITE):
        Place(str(Path(tracking_uri.removeprefix(SQLITE)).absolute().parent)).require_writable()


def log_rows(tracked: Tracked, rows: Sequence[Row]) -> None:
    """Write metric rows; each row's "step" is the step of its metrics.

    Raises:
        UserError: the tracking server does not answer.
    """
    now = int(time.time() * 1000)
    metrics = [
        Metric(name, value, now, int(row["step"]))
        for row in rows
        for name, value in row.items()
        if name != "step"
    ]
    with answering(tracked.tracking_uri):
        for i in range(0, len(metrics), METRICS_PER_CALL):
            tracked.client.log_batch(tracked.run_id, metrics=metrics[i : i + METRICS_PER_CALL])


def log_text(tracked: Tracked, text: str, artifact: str) -> None:
    """Store a text file with the run.

    Raises:
        UserError: the tracking server does not answer.
    """
    with answering(tracked.tracking_uri):
        tracked.client.log_text(tracked.run_id, text, artifact)


def history(tracked: Tracked) -> list[Row]:
    """All metric rows of a run, by step; of steps replayed after a crash the last value counts.

    Raises:
        UserError: the tracking server does not answer.
    """
    rows: dict[int, Row] = {}
    with answering(tracked.tracking_uri):
        client = tracked.client
        for name in client.get_run(tracked.run_id).data.metrics:
            found = client.get_metric_history(tracked.run_id, name)
            for metric in sorted(found, key=lambda one: one.timestamp):
                rows.setdefault(metric.step, {"step": float(metric.step)})[name] = metric.value
    return [rows[step] for step in sorted(rows) if "loss/total" in rows[step]]


class MlflowReporter(UserCallback):
    """Runs in Ray Train's controller, the one process that writes metrics.

    While the tracking server is away rows are kept and training goes on; they are written with the next
    report that gets through.
    """

    def __init__(self, tracked: Tracked) -> None:
        self.tracked = tracked
        self._waiting: list[Row] = []

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Write the rows of the first worker, which are sums over all workers already."""
        rows = [dict(row) for row in metrics[0]["rows"]]
        rows[-1] |= {"progress/step": metrics[0]["step"], "progress/total": metrics[0]["total"]}
        self._waiting += rows
        try:
            log_rows(self.tracked, self._waiting)
            self._waiting = []
        except UserError as error:
            logger.warning("%d rows wait: %s", len(self._waiting), error.problem)


@contextmanager
def progress_lines(tracked: Tracked, interval: float = 3.0) -> Iterator[None]:
    """Print steps, rate, ETA and loss while the body runs, read back from MLflow."""
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(tracked, done, interval), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(tracked: Tracked, done: threading.Event, interval: float) -> None:
    """Print a line whenever the step has changed; what an interrupted process logged is no news."""
    progress: Progress | None = None
    shown = _latest(tracked).get("progress/step", -1.0)
    finished = False
    while not finished:
        finished = done.wait(interval)
        metrics = _latest(tracked)
        step = metrics.get("progress/step", shown)
        if step == shown or "progress/total" not in metrics:
            continue
        total = int(metrics["progress/total"])
        progress = progress or Progress("training", total, "steps", interval=0.0, first=int(step))
        told = f"loss {metrics.get('loss/total', float('nan')):.3f}"
        if signs := signs_in(metrics):
            told += f", signs of illness: {', '.join(signs)}"
        progress.update(int(step), told)
        shown = step


def _latest(tracked: Tracked) -> dict[str, float]:
    """The last value of every metric; empty if the server is busy, as the next look will tell."""
    try:
        with answering(tracked.tracking_uri):
            return dict(tracked.client.get_run(tracked.run_id).data.metrics)
    except UserError:
        return {}
