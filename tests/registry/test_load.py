"""Addresses of encoders that lead nowhere: one line each, and nothing left behind."""

import mlflow
import pytest
import torch
from botocore.exceptions import NoCredentialsError

import mricore
from mricore.config.schema import Head, Model
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.model.embedder import Embedder
from mricore.model.network import build_network
from mricore.registry.load import folder_of, version_of
from mricore.registry.publish import publish
from mricore.training.place import Home
from mricore.training.telemetry import require_tracking, start_run
from mricore.workflows.export import export_model

MODEL = Model(kind="plain", dim=16, depth=1, heads=2, native_grid=14, readout="class")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry with the first version of ``small``, and its alias."""
    folder = tmp_path_factory.mktemp("registry")
    home = Home(place(str(folder / "out")), f"sqlite:///{folder / 'mlflow.db'}")
    require_tracking(home)
    network = build_network(MODEL, Head(prototypes=2, hidden=4), torch.Generator().manual_seed(0))
    Embedder.from_network(network, MODEL, 32).save(folder)
    publish(
        folder,
        tracking_uri=home.tracking_uri,
        run_id=start_run(home, "test", "a run", {}, {}).run_id,
        name="small",
        alias="champion",
        card="a card",
        tags={},
        generated_phantoms=True,
    )
    return home.tracking_uri


@pytest.fixture
def at_registry(registry):
    mlflow.set_tracking_uri(registry)
    yield
    mlflow.set_tracking_uri(None)


@pytest.mark.parametrize(
    "uri", ["s3://nobucket/model", "https://host/model", "gs://a/b", "file:///tmp", "S3:/x"]
)
def test_an_address_of_another_kind_is_refused_before_anyone_is_asked(uri, monkeypatch):
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", lambda **_: pytest.fail("asked"))
    with pytest.raises(
        UserError, match="give models:/name@alias, models:/name/1, or a local folder"
    ) as caught:
        mricore.load(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("at_registry")
@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("models:/small", "add @champion or /1"),
        ("models:/small/", "add @champion or /1"),
        ("models:/small@absent", "check the name"),
        ("models:/small/7", "check the name"),
        ("models:/", "check the name"),
        ("runs:/0123/model", "check the name"),
    ],
)
def test_a_version_that_is_not_there_is_one_line_with_what_to_write(uri, remedy):
    with pytest.raises(UserError, match="no model") as caught:
        mricore.load(uri)
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["models:/small@champion", "models:/small/1", "runs:/0123/model"])
@pytest.mark.parametrize("ask", [folder_of, version_of])
def test_asking_where_no_registry_is_leaves_none_behind(tmp_path, monkeypatch, uri, ask):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if ask is version_of and "@" not in uri:
        assert version_of(uri) == uri
    else:
        with pytest.raises(UserError, match="there is no sqlite:///"):
            ask(uri)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
@pytest.mark.usefixtures("at_registry")
def test_artifacts_in_a_bucket_that_lets_nobody_in_are_one_line(monkeypatch):
    def refuse(**_):
        raise NoCredentialsError

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", refuse)
    with pytest.raises(UserError, match="no model at models:/small/1"):
        folder_of("models:/small/1")


@pytest.mark.usefixtures("at_registry")
def test_an_export_names_the_version_that_the_alias_meant(tmp_path):
    assert version_of("models:/small@champion") == "models:/small/1"
    lines = export_model("models:/small@champion", "dinov2", tmp_path / "e.pth")
    assert lines[0] == f"models:/small@champion, now models:/small/1, as dinov2: {tmp_path / 'e.pth'}"
    assert (tmp_path / "e.pth").is_file()
