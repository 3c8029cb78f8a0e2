"""From an address to a usable encoder."""

from __future__ import annotations

from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from mricore.errors import UserError
from mricore.model.embedder import Embedder


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
        UserError: there is no such version, or it is not an encoder of mricore.
    """
    if "://" not in uri and not uri.startswith("models:/"):
        return Path(uri)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError):
        raise UserError(
            f"no model at {uri} in {mlflow.get_registry_uri()}",
            "check the name, and MLFLOW_TRACKING_URI or the working folder",
        ) from None
    found = sorted(folder.glob("artifacts/*/embedder.json"))
    if not found:
        raise UserError(f"{uri} is not an encoder of mricore", "choose a version that mricore published")
    return found[0].parent
