"""Where runs, datasets and tracking live when the user does not say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mricore.config.addresses import without_credentials
from mricore.data.cluster import submitted_as_job
from mricore.data.storage import Place, place

SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Home:
    """``outputs`` holds datasets, runs and reports; ``tracking_uri`` is MLflow's."""

    outputs: Place
    tracking_uri: str

    @property
    def runs(self) -> Place:
        """Where runs live."""
        return Place(self.outputs.joined("runs"))

    @property
    def shown(self) -> str:
        """``tracking_uri`` as it may be printed."""
        return without_credentials(self.tracking_uri)

    @property
    def local_artifacts(self) -> str | None:
        """Folder for MLflow artifacts when tracking is a local SQLite file; a server decides itself."""
        if not self.tracking_uri.startswith(SQLITE):
            return None
        return str(Path(self.tracking_uri.removeprefix(SQLITE)).absolute().parent / "mlartifacts")


def home(out: str | None) -> Home:
    """Resolve ``--out``.

    By default all goes below the working folder, where plain MLflow calls find the same database. A
    submitted job works in a temporary copy, so there the default is ``~/mricore`` of the head node.
    """
    base = Path.home() / "mricore" if submitted_as_job() else Path.cwd()
    tracking = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{base / 'mlflow.db'}"
    base.mkdir(parents=True, exist_ok=True)
    return Home(place(out) if out is not None else Place(str(base / "outputs")), tracking)
