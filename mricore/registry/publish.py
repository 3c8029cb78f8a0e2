"""Make a version of a registered model in MLflow, with its card; the alias goes where no gate is needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient

from mricore.evaluation.contenders import digest_of
from mricore.model.embedder import Embedder
from mricore.registry.alias import Alias
from mricore.registry.load import folder_of
from mricore.training.telemetry import answering, quiet

PHANTOMS = "generated_phantoms"
"""Tag of a version: whether it was trained on generated phantoms."""
DIGEST = "encoder_digest"
"""Tag of a version: what its encoder is known by, see ``contenders.digest_of``."""
HEALTH, WELL = "health", "well"
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
    """Register the encoder in ``embedder_folder`` as a version made by ``run_id``.

    The same encoder makes one version: publishing it again renews card and tags. It takes the alias if nobody
    has it and it never lost it, or if it is of real data and the holder of phantoms; what may not lead never
    does. All else is for the gate (``jobs/publish.py``).

    Raises:
        UserError: the registry does not answer or refuses.
    """
    with answering(tracking_uri):
        number = register(
            embedder_folder,
            tracking_uri=tracking_uri,
            run_id=run_id,
            name=name,
            card=card,
            tags={**tags, PHANTOMS: str(generated_phantoms)},
        )
        held = Alias(MlflowClient(tracking_uri, tracking_uri), name, alias)
        if may_lead and (why := free_because(held, number)):
            held.give(number, why)
        return Version(name, number, alias if held.holder() == number else "")


def free_because(held: Alias, number: str) -> str:
    """Why a version takes the alias without a gate; empty if it does not, or has it already."""
    holder = held.holder()
    if holder is None:
        return "" if held.lost(number) else f"there was no {held.alias}"
    was_phantoms, is_phantoms = (held.tags(one).get(PHANTOMS) == "True" for one in (holder, number))
    return f"version {holder} was of phantoms, this one is of real data" * (was_phantoms and not is_phantoms)


def register(
    folder: Path, *, tracking_uri: str, run_id: str, name: str, card: str, tags: Mapping[str, str]
) -> str:
    """The number of the version of an encoder, new or, with card and tags renewed, the one that is there.

    A new version appears whole, with its card and tags.

    Raises:
        UserError: the folder holds no encoder.
        MlflowException: the registry does not answer or refuses.
    """
    client = MlflowClient(tracking_uri, tracking_uri)
    digest = digest_of(Embedder.load(folder), {})
    known = versions_of(client, name, digest)
    if not known:
        _make_model(client, name)
        with tracking_at(tracking_uri):
            source, model_id = _logged(folder, run_id)
            made = client.create_model_version(
                name, source, run_id, {**tags, DIGEST: digest}, description=card, model_id=model_id
            )
        known = versions_of(client, name, digest)
        if known[0] == str(made.version):
            return known[0]
        client.delete_model_version(name, made.version)  # another process was a moment earlier
    client.update_model_version(name, known[0], description=card)
    for key, value in tags.items():
        client.set_model_version_tag(name, known[0], key, value)
    return known[0]


def versions_of(client: MlflowClient, name: str, digest: str) -> list[str]:
    """Numbers of the versions with that encoder, the first made first."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST}` = '{digest}'")
    return sorted((str(one.version) for one in found), key=int)


def digest_of_version(client: MlflowClient, tracking_uri: str, name: str, number: str) -> str:
    """The digest of a version's encoder; of one without the tag it is computed from its files.

    Raises:
        UserError: the files cannot be had.
    """
    digest: str | None = client.get_model_version(name, number).tags.get(DIGEST)
    if digest is None:
        with tracking_at(tracking_uri):
            digest = digest_of(Embedder.load(folder_of(f"models:/{name}/{number}")), {})
    return digest


def _make_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def _logged(folder: Path, run_id: str) -> tuple[str, str]:
    """Log the encoder as a model of its run; its address and id."""
    requirements = [f"{package}=={metadata.version(package).split('+')[0]}" for package in REQUIREMENTS]
    with _without_hints(), quiet(), mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(
            name="encoder",
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"embedder": str(folder)},
            pip_requirements=requirements,
        )
    return str(info.model_uri), str(info.model_id)


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
def tracking_at(uri: str) -> Iterator[None]:
    """Logging and loading models go by MLflow's setting for the whole process; it is put back afterwards."""
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
