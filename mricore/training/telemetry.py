"""MLflow: one run per training, written by one process, readable while it grows."""

from __future__ import annotations

import json
import math
import os
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
from sqlalchemy.exc import SQLAlchemyError

from mricore.config.addresses import without_credentials
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training.checkpoint import Row
from mricore.training.place import SQLITE, Home

METRICS_PER_CALL = 900
CALL_EVERY = 10.0
"""Seconds between two calls that write metrics, except with a checkpoint."""
MOST_PATIENCE = 300.0
"""Seconds between two attempts when MLflow has been away for long."""
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
QUIET = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
KEPT = "unlogged.json"
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
    with answering(home.tracking_uri), impatient():
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
                f"this run was begun before, and MLflow at {home.shown} does not know it",
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
    with answering(tracked.tracking_uri), quiet():
        tracked.client.set_terminated(tracked.run_id, status)


@contextmanager
def answering(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow raises when its server or database fails into one clear line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(
            f"MLflow at {without_credentials(tracking_uri)} does not work ({type(error).__name__})",
            "check MLFLOW_TRACKING_URI and that the server is up; the same command then continues",
        ) from error


def _require_writable_sqlite(tracking_uri: str) -> None:
    """MLflow tries for minutes to make a database where it may not."""
    if tracking_uri.startswith(SQLITE):
        Place(str(Path(tracking_uri.removeprefix(SQLITE)).absolute().parent)).require_writable()


def log_rows(tracked: Tracked, rows: Sequence[Row]) -> None:
    """Write metric rows; a row's "step" is the step of its metrics, "at" (if given) their unix time.

    Raises:
        UserError: the tracking server does not answer.
    """
    now = time.time()
    metrics = [
        Metric(name, value, int(row.get("at", now) * 1000), int(row["step"]))
        for row in rows
        for name, value in row.items()
        if name not in ("step", "at")
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


class RowLog:
    """Writes rows to MLflow from one process, a few calls a minute, and never keeps training waiting long.

    What was not written yet is also in the file ``waiting`` of this machine, for the process that outlives
    this one. While the tracking server is away it is tried ever more rarely, and rows that belong to a
    checkpoint are kept with the run. A row has the time at which it came ("at"), by which MLflow knows what
    it was given before.
    """

    def __init__(self, tracked: Tracked, run: Place, waiting: Path) -> None:
        self.tracked, self.run, self.file = tracked, run, waiting
        self.waiting: list[Row] = []
        self.problem = ""
        """What is wrong with MLflow; empty if it works."""
        self._next = -math.inf
        self._patience = CALL_EVERY

    def add(self, rows: Sequence[Row], now: bool) -> None:
        """Take rows. They are written ``now`` (as they belong to a checkpoint), or with later ones."""
        came = time.time()
        self.waiting += [{"at": came, **row} for row in rows]
        moment = time.monotonic()
        if moment >= self._next or (now and not self.problem):
            self._write(moment)
        if self.problem and now:
            keep_rows(self.run, self.waiting)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(self.waiting))
        fresh.replace(self.file)

    def _write(self, moment: float) -> None:
        try:
            with impatient():
                log_rows(self.tracked, self.waiting)
        except UserError as error:
            self.problem = error.problem
            self._patience = min(2 * self._patience, MOST_PATIENCE)
        else:
            if self.problem:
                forget_rows(self.run)
            self.waiting, self.problem, self._patience = [], "", CALL_EVERY
        self._next = moment + self._patience


def log_rest(tracked: Tracked, run: Place, waiting: Path) -> int:
    """Write what a ``RowLog`` that is no more left in its file; without MLflow, keep it with the run.

    Returns how many rows had to be kept.
    """
    rows: list[Row] = json.loads(waiting.read_text()) if waiting.exists() else []
    if not rows:
        return 0
    try:
        with impatient():
            log_rows(tracked, rows)
    except UserError:
        keep_rows(run, rows)
        return len(rows)
    forget_rows(run)
    return 0


def keep_rows(run: Place, rows: Sequence[Row]) -> None:
    """Store rows beside the checkpoints of a run, for ``log_kept_rows``."""
    run.write_bytes(KEPT, json.dumps(rows).encode())


def forget_rows(run: Place) -> None:
    """Remove kept rows."""
    if run.exists(KEPT):
        run.remove(KEPT)


def log_kept_rows(tracked: Tracked, run: Place) -> None:
    """Write rows that were kept because MLflow was away when the run was interrupted or ended.

    Raises:
        UserError: the tracking server does not answer.
    """
    if run.exists(KEPT):
        log_rows(tracked, json.loads(run.read_bytes(KEPT)))
        forget_rows(run)


@contextmanager
def impatient() -> Iterator[None]:
    """MLflow's client tries for minutes by itself, in silence, and training would wait for it."""
    with _unless_set(IMPATIENT):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """MLflow draws a bar for each file, and at the end of a run prints its address, password and all."""
    with _unless_set(QUIET):
        yield


@contextmanager
def _unless_set(settings: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment for the time of the body; what the user has set stays."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update({name: value for name, value in settings.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
