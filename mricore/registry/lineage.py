"""What made a version: data, code, settings, weights, study and evaluations, read back from MLflow.

A run that trains carries what ``log_data`` logs and the tags of ``weights_tags``; a version points to its
run, and evaluations (``judged.py``) point to the version.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from mricore.config.addresses import without_credentials
from mricore.data.manifest import Manifest
from mricore.errors import UserError
from mricore.registry.alias import Alias, events
from mricore.registry.judged import EXPERIMENT
from mricore.registry.publish import DIGEST, HEALTH, versions_of
from mricore.training.telemetry import Tracked, answering, quiet

CONTEXT = "mlflow.data.context"
PRETRAINING = "pretraining"
SOURCE = "mricore-manifest"
PARENT = "mlflow.parentRunId"
WEIGHTS = "initial_weights"
DIGITS = 32
"""MLflow takes 36 characters of a dataset's digest; the tag ``manifest_digest`` has all 64."""
UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of the version: its run in MLflow, and scores with intervals as lines."""

    run_id: str
    protocol: str
    task: str
    leaks: str
    scores: tuple[str, ...]


@dataclass(frozen=True)
class Lineage:
    """Where a version came from and what was said of it; what is not recorded is empty.

    ``files`` are artifacts of the run that tell more: manifest.json, audit.json, recipe.json.
    """

    version: str
    aliases: tuple[str, ...]
    encoder_digest: str
    health: str
    recipe: str
    data: Mapping[str, str]
    code: Mapping[str, str]
    weights: Mapping[str, str]
    run_id: str
    run_name: str
    experiment: str
    files: tuple[str, ...]
    study: str
    evaluations: tuple[Evaluation, ...]
    events: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """What people read."""
        held = f" ({', '.join(self.aliases)})" if self.aliases else ""
        known = self.encoder_digest[:16] or UNKNOWN
        yield f"version:     {self.version}{held}, encoder {known}, {self.health}"
        yield f"data:        {_told(self.data)}"
        yield f"recipe:      {self.recipe or UNKNOWN}"
        yield f"code:        {_told(self.code)}"
        yield f"weights:     {_told(self.weights)}"
        yield f"run:         {self.run_name}, {self.run_id} (experiment {self.experiment})"
        yield f"its files:   {', '.join(self.files) or UNKNOWN}"
        yield f"study:       {self.study or 'none'}"
        for one in self.evaluations:
            yield f"evaluation:  {one.protocol} on {one.task}, run {one.run_id}; leaks: {one.leaks}"
            yield from (f"             {score}" for score in one.scores)
        if not self.evaluations:
            yield "evaluation:  none is logged"
        yield from (f"alias:       {event}" for event in self.events)


def log_data(tracked: Tracked, manifest: Manifest, audit: bytes | None) -> None:
    """Log a curated dataset as what the run is trained on, with its manifest and, if there is one, its audit.

    Neither holds an identifier, and the place of the dataset is not told. Logging it again changes nothing.

    Raises:
        UserError: the tracking server does not answer.
    """
    profile = {"counts": manifest.counts, "slices": manifest.distributions}
    dataset = Dataset(
        name=f"dataset {manifest.digest[:8]}",
        digest=manifest.digest[:DIGITS],
        source_type=SOURCE,
        source=json.dumps({"manifest_digest": manifest.digest, "artifact": "manifest.json"}),
        profile=json.dumps(profile),
    )
    with answering(tracked.tracking_uri):
        client = tracked.client
        client.log_inputs(tracked.run_id, [DatasetInput(dataset, [InputTag(CONTEXT, PRETRAINING)])])
        client.log_text(tracked.run_id, manifest.to_json(), "manifest.json")
        if audit is not None:
            client.log_text(tracked.run_id, audit.decode(), "audit.json")


def run_tags(tracking_uri: str, run_id: str) -> Mapping[str, str]:
    """The tags of a run.

    Raises:
        UserError: the tracking server does not answer, or knows no such run.
    """
    with answering(tracking_uri):
        try:
            tags: Mapping[str, str] = MlflowClient(tracking_uri, tracking_uri).get_run(run_id).data.tags
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            raise UserError(
                f"MLflow at {without_credentials(tracking_uri)} knows no run {run_id}",
                "check MLFLOW_TRACKING_URI or the working folder",
            ) from None
    return tags


def run_file(tracking_uri: str, run_id: str, path: str) -> bytes | None:
    """A small artifact of a run; None if it has none of that name.

    Raises:
        UserError: the tracking server does not answer.
    """
    with answering(tracking_uri), quiet(), tempfile.TemporaryDirectory() as folder:
        client = MlflowClient(tracking_uri, tracking_uri)
        if path not in {file.path for file in client.list_artifacts(run_id)}:
            return None
        return Path(client.download_artifacts(run_id, path, folder)).read_bytes()


def weights_tags(name: str, sha256: str, licence: str) -> dict[str, str]:
    """Tags of a run and of its version for the weights that it began with."""
    return {WEIGHTS: name, f"{WEIGHTS}_sha256": sha256 or "none", f"{WEIGHTS}_licence": licence}


def lineage(name: str, number: str, tracking_uri: str) -> Lineage:
    """The lineage of ``models:/name/number``.

    Raises:
        UserError: the registry does not answer, or there is no such version.
    """
    with answering(tracking_uri):
        client = MlflowClient(tracking_uri, tracking_uri)
        Alias(client, name, "").tags(number)
        version = client.get_model_version(name, number)
        aliases = client.get_registered_model(name).aliases
        run = client.get_run(version.run_id)
        parent = run.data.tags.get(PARENT)
        tags: Mapping[str, str] = version.tags
        return Lineage(
            version=f"models:/{name}/{number}",
            aliases=tuple(sorted(alias for alias, held in aliases.items() if str(held) == number)),
            encoder_digest=tags.get(DIGEST, ""),
            health=tags.get(HEALTH, UNKNOWN),
            recipe=tags.get("recipe", ""),
            data=_data(run),
            code=_some({**run.data.tags, **tags}, ("code_revision", "git_revision")),
            weights=_some({**run.data.tags, **tags}, weights_tags("", "", "")),
            run_id=run.info.run_id,
            run_name=str(run.info.run_name),
            experiment=client.get_experiment(run.info.experiment_id).name,
            files=tuple(file.path for file in client.list_artifacts(run.info.run_id) if not file.is_dir),
            study=f"{client.get_run(parent).info.run_name}, run {parent}" if parent else "",
            evaluations=tuple(_evaluations(client, f"models:/{name}/{number}")),
            events=tuple(events(tags)),
        )


def logged_evaluations(name: str, digest: str, tracking_uri: str) -> list[Evaluation]:
    """The latest logged evaluation of each protocol and task of the version with that encoder.

    Raises:
        UserError: the registry does not answer.
    """
    with answering(tracking_uri):
        client = MlflowClient(tracking_uri, tracking_uri)
        numbers = versions_of(client, name, digest)
        latest: dict[tuple[str, str], Evaluation] = {}
        for one in _evaluations(client, f"models:/{name}/{numbers[0]}") if numbers else ():
            latest.setdefault((one.protocol, one.task), one)
        return [latest[key] for key in sorted(latest)]


def _data(run: Any) -> dict[str, str]:
    for one in run.inputs.dataset_inputs:
        if any((tag.key, tag.value) == (CONTEXT, PRETRAINING) for tag in one.tags):
            digest = str(json.loads(one.dataset.source)["manifest_digest"])
            counts = json.loads(one.dataset.profile)["counts"]
            return {"digest": digest, **{name: f"{count:,}" for name, count in counts.items()}}
    digest = run.data.tags.get("manifest_digest")
    return {"digest": digest} if digest else {}


def _evaluations(client: MlflowClient, version: str) -> Iterator[Evaluation]:
    """The latest finished evaluation of each protocol and task comes first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return
    asked = f"tags.`mricore.version` = '{version}' and attributes.status = 'FINISHED'"
    for run in client.search_runs([experiment.experiment_id], asked, order_by=["attributes.start_time DESC"]):
        metrics, tags = run.data.metrics, run.data.tags
        names = sorted(name for name in metrics if not name.endswith((".low", ".high")))
        scores = (
            f"{name} {metrics[name]:.3f} [{metrics[f'{name}.low']:.3f}, {metrics[f'{name}.high']:.3f}]"
            for name in names
        )
        yield Evaluation(
            *(run.info.run_id, tags["protocol"], tags["task"], tags.get("leaks", UNKNOWN)), tuple(scores)
        )


def _some(tags: Mapping[str, str], names: Mapping[str, str] | tuple[str, ...]) -> dict[str, str]:
    return {name: tags[name] for name in names if name in tags}


def _told(facts: Mapping[str, str]) -> str:
    return (
        ", ".join(f"{name.removeprefix(f'{WEIGHTS}_')} {value}" for name, value in facts.items()) or UNKNOWN
    )
