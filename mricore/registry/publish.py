"""Make a version of a registered model in MLflow, with its card, and move an alias to it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient

from mricore.training.telemetry import answering

PHANTOMS = "generated_phantoms"
"""Tag of a version: whether it was trained on generated phantoms."""
REQUIREMENTS = ("mricore", "torch", "numpy", "safetensors")


@dataclass(frozen=True)
class Version:
    """A registered version, as ``models:/name/number`` and, unless empty, ``models:/name@alias``."""

    name: str
    number: str
    alias: str

    @property
    def uri(self) -> str:
        """The address that follows the alias, or the version's own if the alias points elsewhere."""
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.number}"


def publish(
    embedder_folder: Path,
    *,
    tracking_uri: str,
    run_id: str,
    name: str,
    alias: str,
    card: str,
    tags: Mapping[str, str],
    generated_phantoms: bool,
    may_lead: bool = True,
) -> Version:
    """Register the encoder in ``embedder_folder`` as a version made by ``run_id`` and alias it.

    A run makes one version: publishing it again (after an interruption) returns the version that is there.
    An encoder of generated phantoms never takes the alias from one of real data, and none takes it that may
    not lead.

    Raises:
        UserError: the registry does not answer or refuses.
    """
    with answering(tracking_uri):
        client = MlflowClient(tracking_uri, tracking_uri)
        number = _version_of(client, name, run_id) or _register(tracking_uri, embedder_folder, run_id, name)
        client.update_model_version(name, number, description=card)
        for key, value in {**tags, PHANTOMS: str(generated_phantoms)}.items():
            client.set_model_version_tag(name, number, key, value)
        leads = may_lead and (not generated_phantoms or not _is_of_real_data(client, name, alias))
        if leads:
            client.set_registered_model_alias(name, alias, number)
    return Version(name, number, alias if leads else "")


def _is_of_real_data(client: MlflowClient, name: str, alias: str) -> bool:
    """Whether the alias points to a version that was not trained on generated phantoms."""
    current = client.get_registered_model(name).aliases.get(alias)
    return current is not None and client.get_model_version(name, current).tags.get(PHANTOMS) != "True"


def _version_of(client: MlflowClient, name: str, run_id: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return str(found[0].version) if found else None


def _register(tracking_uri: str, folder: Path, run_id: str, name: str) -> str:
    requirements = [f"{package}=={metadata.version(package).split('+')[0]}" for package in REQUIREMENTS]
    with _tracking_at(tracking_uri), _without_hints(), mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(
            name="encoder",
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"embedder": str(folder)},
            pip_requirements=requirements,
            registered_model_name=name,
        )
    return str(info.registered_model_version)


@contextmanager
def _without_hints() -> Iterator[None]:
    """MLflow warns that it finds no schema; there is none on purpose, see ``pyfunc_model``."""
    logger = logging.getLogger("mlflow.pyfunc")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _tracking_at(uri: str) -> Iterator[None]:
    """Logging a model goes by MLflow's setting for the whole process; it is put back afterwards."""
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
