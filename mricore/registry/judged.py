"""Scores of an evaluation beside the model version that they judge, in MLflow; written by one process.

A run per version, protocol and task holds each score with the ends of its interval as metrics, linked to the
model that the version was made of; the version itself carries the scores as tags.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import LoggedModelInput, Metric
from mlflow.tracking import MlflowClient

from mricore.evaluation.statistics import Interval
from mricore.training.place import Home
from mricore.training.telemetry import answering, end_run, impatient, start_run

EXPERIMENT = "mricore-evaluation"
KEY = "mricore.evaluation"
"""Tag of a run that names what was judged and what came out, so that nothing is logged twice."""
_VERSION = re.compile(r"models:/([^/@]+)/(\d+)")
_MODEL = re.compile(r"models:/(m-\w+)")
"""The source of a version that was made of a logged model; its own field for that stays empty."""


@dataclass(frozen=True)
class Score:
    """A mean with its interval; ``mode`` as in rows of measurements."""

    mode: str
    metric: str
    interval: Interval

    @property
    def name(self) -> str:
        """Mode and metric as MLflow accepts them in names."""
        return ".".join(re.sub(r"[^\w.-]+", "_", part.replace("=", "")) for part in (self.mode, self.metric))


@dataclass(frozen=True)
class Judged:
    """What was judged and what came out; ``facts`` are further tags, e.g. the verdict on leaks."""

    version: str
    protocol: str
    task: str
    data_digest: str
    encoder_digest: str
    scores: Sequence[Score]
    facts: Mapping[str, str]

    @property
    def key(self) -> str:
        """SHA-256 of it all."""
        scores = [[score.mode, score.metric, repr(score.interval)] for score in self.scores]
        state = [
            *(self.version, self.protocol, self.task, self.data_digest, self.encoder_digest),
            *(scores, dict(self.facts)),
        ]
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def is_version(address: str) -> bool:
    """Whether an address names a version by its number, ``models:/name/3``."""
    return _VERSION.fullmatch(address) is not None


def record(judged: Judged, where: Home, files: Mapping[str, str]) -> str:
    """Log scores and text files (by name) in a run, and tag the version; the id of the run.

    What was logged before, to the last digit, is not logged again.

    Raises:
        UserError: the tracking server does not answer, or there is no such version.
        ValueError: the address names no version by its number.
    """
    found = _VERSION.fullmatch(judged.version)
    if found is None:
        raise ValueError(f"{judged.version} names no version by its number")
    name, number = found.groups()
    client = MlflowClient(where.tracking_uri, where.tracking_uri)
    with answering(where.tracking_uri), impatient():
        version = client.get_model_version(name, number)
    with answering(where.tracking_uri):
        run_id = _logged_before(client, judged.key)
        if run_id is None:
            model = _MODEL.fullmatch(version.source or "")
            run_id = _log(client, judged, where, f"{name}-{number}", model[1] if model else None, files)
        for score in judged.scores:
            tag = f"score.{judged.protocol}.{judged.task}.{score.name}"
            client.set_model_version_tag(name, number, tag, str(score.interval))
    return run_id


def _logged_before(client: MlflowClient, key: str) -> str | None:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return None
    asked = f"tags.`{KEY}` = '{key}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment.experiment_id], asked, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _log(
    client: MlflowClient,
    judged: Judged,
    where: Home,
    title: str,
    model_id: str | None,
    files: Mapping[str, str],
) -> str:
    tags = {
        KEY: judged.key,
        "mricore.version": judged.version,
        "protocol": judged.protocol,
        "task": judged.task,
        "data_digest": judged.data_digest,
        "encoder_digest": judged.encoder_digest,
        **judged.facts,
    }
    run_name = f"{title} {judged.protocol} {judged.task}"
    tracked = start_run(where, EXPERIMENT, run_name, {}, tags)
    if model_id:
        client.log_inputs(tracked.run_id, models=[LoggedModelInput(model_id)])
    now = int(client.get_run(tracked.run_id).info.start_time)
    metrics = [
        Metric(name, value, now, 0, model_id=model_id, run_id=tracked.run_id)
        for score in judged.scores
        for name, value in _values(score)
    ]
    client.log_batch(tracked.run_id, metrics=metrics)
    for name, text in files.items():
        client.log_text(tracked.run_id, text, name)
    end_run(tracked, "FINISHED")
    return tracked.run_id


def _values(score: Score) -> list[tuple[str, float]]:
    interval = score.interval
    return [
        (score.name, interval.value),
        (f"{score.name}.low", interval.low),
        (f"{score.name}.high", interval.high),
    ]


def trained_on(address: str, where: Home) -> str:
    """The digest of the dataset that a version was trained on; empty if it does not tell.

    Raises:
        UserError: the tracking server does not answer, or there is no such version.
        ValueError: the address names no version by its number.
    """
    found = _VERSION.fullmatch(address)
    if found is None:
        raise ValueError(f"{address} names no version by its number")
    with answering(where.tracking_uri):
        client = MlflowClient(where.tracking_uri, where.tracking_uri)
        return str(client.get_model_version(*found.groups()).tags.get("manifest_digest", ""))
