"""Versions and the alias, in a real registry on SQLite."""

from contextlib import contextmanager

import mlflow
import numpy as np
import pytest
import torch

import mricore
from mricore.config.schema import Head, Model
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.model.embedder import Embedder
from mricore.model.network import build_network
from mricore.registry.publish import publish
from mricore.training.place import Home
from mricore.training.telemetry import reopen_run, require_tracking, start_run

MODEL = Model(dim=16, depth=2, heads=2, patch=4, window=5, global_blocks=(1,), native_grid=8, neck_dim=4)
HEAD = Head(prototypes=12, hidden=16, bottleneck=8)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    where = Home(place(str(folder / "out")), f"sqlite:///{folder / 'mlflow.db'}")
    require_tracking(where)
    return where


@contextmanager
def mlflow_at(uri):
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)


def published(where, folder, name, phantoms, run=None):
    network = build_network(MODEL, HEAD, torch.Generator().manual_seed(0))
    Embedder.from_network(network, MODEL, 24).save(folder)
    tracked = run or start_run(where, "test", "a run", {}, {})
    return tracked, publish(
        folder,
        tracking_uri=where.tracking_uri,
        run_id=tracked.run_id,
        name=name,
        alias="champion",
        card="a card",
        tags={"recipe": "tiny"},
        generated_phantoms=phantoms,
    )


def test_a_run_makes_one_version_and_the_alias_loads_it(registry, tmp_path):
    tracked, version = published(registry, tmp_path, "once", True)
    assert version.uri == "models:/once@champion"
    assert published(registry, tmp_path, "once", True, tracked)[1] == version
    with mlflow_at(registry.tracking_uri):
        encoder = mricore.load(version.uri)
        slices = np.random.default_rng(0).random((2, 20, 30))
        np.testing.assert_array_equal(encoder(slices), Embedder.load(tmp_path)(slices))
        with pytest.raises(UserError, match="no model"):
            mricore.load("models:/once@absent")


def test_publishing_leaves_mlflow_s_settings_as_they_were(registry, tmp_path):
    with mlflow_at("http://elsewhere"):
        published(registry, tmp_path, "quiet", True)
        assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == "http://elsewhere"


def test_phantoms_never_take_the_alias_from_real_data(registry, tmp_path):
    published(registry, tmp_path, "led", True)
    assert published(registry, tmp_path, "led", False)[1].uri == "models:/led@champion"
    late = published(registry, tmp_path, "led", True)[1]
    assert (late.alias, late.uri) == ("", "models:/led/3")
    client = mlflow.MlflowClient(registry.tracking_uri, registry.tracking_uri)
    assert str(client.get_model_version_by_alias("led", "champion").version) == "2"
    assert published(registry, tmp_path, "led", False)[1].number == "4"
    assert str(client.get_model_version_by_alias("led", "champion").version) == "4"


def test_a_run_of_another_store_is_not_begun_again_silently(registry):
    with pytest.raises(UserError, match="does not know it"):
        reopen_run(registry, "0" * 32, goes_on=True)


@pytest.mark.parametrize("uri", ["foo://x", "sqlite:////proc/nowhere/mlflow.db", "http://127.0.0.1:9"])
def test_tracking_that_does_not_work_is_one_clear_line(uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError) as caught:
        require_tracking(Home(place(str(tmp_path)), uri))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is no database, whatever its name says")
    with pytest.raises(UserError, match="MLflow"):
        require_tracking(Home(place(str(tmp_path)), f"sqlite:///{tmp_path / 'mlflow.db'}"))
