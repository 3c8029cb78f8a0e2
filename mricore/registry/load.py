"""From an address to a usable encoder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from botocore.exceptions import BotoCoreError, ClientError
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from mricore.config.addresses import without_credentials
from mricore.errors import UserError
from mricore.model.embedder import Embedder

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_SQLITE = "sqlite:///"
_UNREACHED = (MlflowException, SQLAlchemyError, OSError, BotoCoreError, ClientError)
"""What MLflow raises where a server, a database or a bucket with artifacts fails."""


def load(uri: str, device: str = "cpu") -> Embedder:
    """Load an encoder from ``models:/name@alias``, ``models:/name/3``, or a folder that holds one.

    The registry is MLflow's: ``MLFLOW_TRACKING_URI``, or ``mlflow.db`` in the working folder.

    Raises:
        UserError: there is no such version, or it is not an encoder of mricore.
    """
    return Embedder.load(folder_of(uri), device)


def folder_of(uri: str) -> Path:
    """The folder with the files of an encoder, fetched from the registry if need be.

    Raises:
        UserError: the address is of another kind, there is no such version, or it is not an encoder of
            mricore.
    """
    if not _ADDRESS.match(uri):
        return Path(uri)
    if not uri.startswith(("models:/", "runs:/")):
        raise UserError(
            f"{without_credentials(uri)} is no address of an encoder",
            "give models:/name@alias, models:/name/1, or a local folder",
        )
    with _reaching(uri):
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    found = sorted(folder.glob("artifacts/*/embedder.json"))
    if not found:
        raise UserError(f"{uri} is not an encoder of mricore", "choose a version that mricore published")
    return found[0].parent


def version_of(uri: str) -> str:
    """``models:/name@alias`` as ``models:/name/3``, the version that it is now; other addresses unchanged.

    Raises:
        UserError: there is no such version.
    """
    alias = re.fullmatch(r"models:/([^/@]+)@([^/@]+)", uri)
    if alias is None:
        return uri
    with _reaching(uri):
        version = MlflowClient().get_model_version_by_alias(alias[1], alias[2])
    return f"models:/{alias[1]}/{version.version}"


@contextmanager
def _reaching(uri: str) -> Iterator[None]:
    """Turn what goes wrong on the way to a version into one clear line."""
    registry = mlflow.get_tracking_uri() if uri.startswith("runs:/") else mlflow.get_registry_uri()
    remedy = "check the name, and MLFLOW_TRACKING_URI or the working folder"
    if re.fullmatch(r"models:/[^/@]+/?", uri):
        remedy = "add @champion or /1: it names no version"
    if registry.startswith(_SQLITE) and not _database(registry).exists():
        raise UserError(
            f"no model at {uri}: there is no {without_credentials(registry)}", remedy
        )  # MLflow would make it
    try:
        yield
    except _UNREACHED:
        raise UserError(f"no model at {uri} in {without_credentials(registry)}", remedy) from None


def _database(registry: str) -> Path:
    return Path(registry.removeprefix(_SQLITE).partition("?")[0])
