"""A study in MLflow: a parent run with what came of it, and the runs of its trainings as children."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mricore.errors import UserError
from mricore.evaluation.statistics import Interval
from mricore.training.place import Home
from mricore.training.telemetry import Tracked, answering, reopen_run, start_run


def open_parent(
    home: Home, experiment: str, name: str, tags: Mapping[str, str], earlier: str = ""
) -> Tracked:
    """The run of a study: the ``earlier`` one where MLflow knows it, with tags as they are now; or a new one.

    Raises:
        UserError: the tracking server does not answer.
    """
    if earlier:
        with suppress(UserError):  # of another tracking server; one that is down is told below
            parent = reopen_run(home, earlier, goes_on=True)
            with answering(home.tracking_uri):
                for key, value in tags.items():
                    parent.client.set_tag(parent.run_id, key, value)
            return parent
    return start_run(home, experiment, f"study {name}", {}, tags)


def adopt(parent: Tracked, child: Tracked) -> None:
    """Link the run of a training to the study that it was last part of.

    Raises:
        UserError: the tracking server does not answer.
    """
    with answering(parent.tracking_uri):
        child.client.set_tag(child.run_id, MLFLOW_PARENT_RUN_ID, parent.run_id)


def log_scores(child: Tracked, scores: Mapping[str, Interval], step: int) -> None:
    """Scores of an arm, each with the ends of its interval, at the step after which the arm is read.

    Raises:
        UserError: the tracking server does not answer.
    """
    with answering(child.tracking_uri):
        now = int(time.time() * 1000)  # of values at one step MLflow shows the latest
        metrics = [
            Metric(f"{name}{ending}", value, now, step)
            for name, interval in scores.items()
            for ending, value in (("", interval.value), (".low", interval.low), (".high", interval.high))
        ]
        child.client.log_batch(child.run_id, metrics=metrics)


def log_files(parent: Tracked, files: Mapping[str, str]) -> None:
    """Store texts by the names of their files.

    Raises:
        UserError: the tracking server does not answer.
    """
    with answering(parent.tracking_uri):
        for name, text in files.items():
            parent.client.log_text(parent.run_id, text, name)
