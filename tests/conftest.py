"""Shared fixtures: where the real MRI lies, and a Ray that belongs to this test run alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

DEFAULT_REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real MRI (``MRICORE_REAL_DATA``, or ``../shared/data``); skips where it is absent."""
    folder = Path(os.environ.get("MRICORE_REAL_DATA", DEFAULT_REAL_DATA))
    if not (folder / "dicom").is_dir():
        pytest.skip(
            f"no real MRI: set MRICORE_REAL_DATA to a folder that contains dicom/ ({folder} has none)"
        )
    return folder


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A private Ray with 2 CPUs, shared by all tests of this run that need one."""
    from mricore.data.cluster import ray_session

    with ray_session(cpus=2):
        yield


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder with a short path, which Ray's sockets need."""
    folder = Path(tempfile.mkdtemp(prefix="m"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
