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
from mricore.evaluation.contenders import digest_of
from mricore.model.embedder import Embedder
from mricore.model.network import build_network
from mricore.registry import publish as publish_module
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


def published(where, folder, name, phantoms, run=None, seed=0, **more):
    network = build_network(MODEL, HEAD, torch.Generator().manual_seed(seed))
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
        **more,
    )


def client_of(where):
    return mlflow.MlflowClient(where.tracking_uri, where.tracking_uri)


def test_an_encoder_makes_one_version_and_the_alias_loads_it(registry, tmp_path):
    tracked, version = published(registry, tmp_path, "once", True)
    assert version.uri == "models:/once@champion"
    assert published(registry, tmp_path, "once", True, tracked)[1] == version
    assert published(registry, tmp_path, "once", True)[1] == version, "another run, the same encoder"
    (tmp_path / "other").mkdir()
    assert published(registry, tmp_path / "other", "once", True, tracked, seed=1)[1].number == "2"
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


def test_the_alias_moves_without_a_gate_only_from_nobody_or_from_phantoms_to_real_data(registry, tmp_path):
    def holder():
        return str(client_of(registry).get_model_version_by_alias("led", "champion").version)

    assert published(registry, tmp_path, "led", True, seed=0, may_lead=False)[1].alias == ""
    assert published(registry, tmp_path, "led", True, seed=1)[1].uri == "models:/led@champion"
    assert published(registry, tmp_path, "led", True, seed=2)[1].uri == "models:/led/3"
    assert published(registry, tmp_path, "led", False, seed=3, may_lead=False)[1].alias == ""
    assert holder() == "2"
    assert published(registry, tmp_path, "led", False, seed=4)[1].uri == "models:/led@champion"
    assert published(registry, tmp_path, "led", False, seed=5)[1].uri == "models:/led/6"
    assert published(registry, tmp_path, "led", True, seed=6)[1].uri == "models:/led/7"
    assert holder() == "5"


def test_publishing_again_renews_card_and_tags(registry, tmp_path):
    published(registry, tmp_path, "renewed", True)
    client = client_of(registry)
    client.update_model_version("renewed", "1", description="old")
    client.set_model_version_tag("renewed", "1", "recipe", "old")
    client.set_model_version_tag("renewed", "1", "note", "of a person")
    published(registry, tmp_path, "renewed", True)
    version = client.get_model_version("renewed", "1")
    assert version.description == "a card"
    assert (version.tags["recipe"], version.tags["note"]) == ("tiny", "of a person")


def test_of_two_that_publish_the_same_encoder_at_once_one_version_remains(registry, tmp_path, monkeypatch):
    """The other one is a moment earlier: between the look whether it is there and the making of a version."""
    real, calls = publish_module.versions_of, []

    def late(client, name, digest):
        calls.append(name)
        if len(calls) == 1:
            assert real(client, name, digest) == []
            monkeypatch.setattr(publish_module, "versions_of", real)
            published(registry, tmp_path / "other", name, True)
            return []
        return real(client, name, digest)

    (tmp_path / "other").mkdir()
    monkeypatch.setattr(publish_module, "versions_of", late)
    assert published(registry, tmp_path, "twice", True)[1].number == "1"
    assert [one.version for one in client_of(registry).search_model_versions("name = 'twice'")] == [1]


def test_a_version_appears_whole_or_not_at_all(registry, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            published(registry, tmp_path, "whole", True)
    assert client_of(registry).search_model_versions("name = 'whole'") == []
    assert published(registry, tmp_path, "whole", True)[1].uri == "models:/whole@champion"
    tags = client_of(registry).get_model_version("whole", "1").tags
    assert tags["encoder_digest"] == digest_of(Embedder.load(tmp_path), {})


def test_the_digest_of_an_older_version_is_computed_from_its_files(registry, tmp_path):
    published(registry, tmp_path, "older", True)
    client = client_of(registry)
    digest = client.get_model_version("older", "1").tags["encoder_digest"]
    client.delete_model_version_tag("older", "1", "encoder_digest")
    assert publish_module.digest_of_version(client, registry.tracking_uri, "older", "1") == digest


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
