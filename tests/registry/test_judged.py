"""Scores stand beside the version that they judge, once, and MLflow finds them from the model."""

import mlflow
import pytest
import torch
from servers import mlflow_server

from mricore.config.schema import Head, Model
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.statistics import Interval
from mricore.model.embedder import Embedder
from mricore.model.network import build_network
from mricore.registry.judged import EXPERIMENT, Judged, Score, is_version, record
from mricore.registry.publish import publish
from mricore.training.place import Home
from mricore.training.telemetry import require_tracking, start_run

MODEL = Model(dim=16, depth=2, heads=2, patch=4, window=5, global_blocks=(1,), native_grid=8, neck_dim=4)
HEAD = Head(prototypes=12, hidden=16, bottleneck=8)


def judged(value=0.8, version="models:/encoder/1"):
    scores = [
        Score("strict", "dice_3d", Interval(value, value - 0.1, value + 0.1)),
        Score("k=32", "dice_2d_majority", Interval(0.5, 0.4, 0.6)),
    ]
    return Judged(version, "few_shot", "abdomen", "d" * 64, "e" * 64, scores, {"leaks": "none"})


def published(where, folder):
    folder.mkdir(exist_ok=True)
    network = build_network(MODEL, HEAD, torch.Generator().manual_seed(0))
    Embedder.from_network(network, MODEL, 24).save(folder)
    tracked = start_run(where, "training", "a run", {}, {})
    return publish(
        folder,
        tracking_uri=where.tracking_uri,
        run_id=tracked.run_id,
        name="encoder",
        alias="champion",
        card="a card",
        tags={},
        generated_phantoms=True,
    )


def check(where, folder):
    """Record, record again, record something else; look at what MLflow then knows."""
    published(where, folder)
    client = mlflow.MlflowClient(where.tracking_uri, where.tracking_uri)
    files = {"measurements.csv": "protocol,task\n"}
    first = record(judged(), where, files)
    assert record(judged(), where, files) == first
    run = client.get_run(first)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["strict.dice_3d"] == 0.8
    assert run.data.metrics["strict.dice_3d.low"] == pytest.approx(0.7)
    assert run.data.metrics["k32.dice_2d_majority.high"] == 0.6
    assert run.data.tags["data_digest"] == "d" * 64
    assert (run.data.tags["task"], run.data.tags["leaks"]) == ("abdomen", "none")
    assert [file.path for file in client.list_artifacts(first)] == ["measurements.csv"]
    version = client.get_model_version("encoder", "1")
    assert version.tags["score.few_shot.abdomen.strict.dice_3d"] == "0.800 [0.700, 0.900]"
    (model_id,) = [one.model_id for one in run.inputs.model_inputs]
    assert version.source == f"models:/{model_id}"
    linked = client.get_logged_model(model_id)
    assert {metric.key: metric.value for metric in linked.metrics}["strict.dice_3d"] == 0.8
    second = record(judged(0.9), where, files)
    assert second != first
    assert (
        client.get_model_version("encoder", "1")
        .tags["score.few_shot.abdomen.strict.dice_3d"]
        .startswith("0.9")
    )
    assert client.get_experiment_by_name(EXPERIMENT) is not None
    with pytest.raises(UserError, match="MLflow"):
        record(judged(version="models:/encoder/7"), where, files)


def test_scores_are_logged_once_and_linked_to_the_version_that_they_judge(tmp_path):
    where = Home(place(str(tmp_path / "out")), f"sqlite:///{tmp_path / 'mlflow.db'}")
    require_tracking(where)
    check(where, tmp_path / "encoder")


@pytest.mark.servers
@pytest.mark.slow
def test_a_real_server_takes_them_and_its_absence_is_one_clear_line(tmp_path):
    with mlflow_server(tmp_path / "server") as uri:
        where = Home(place(str(tmp_path / "out")), uri)
        check(where, tmp_path / "encoder")
    with pytest.raises(UserError, match="does not work") as caught:
        record(judged(0.7), where, {})
    assert "\n" not in str(caught.value)


def test_only_a_number_names_a_version_for_good():
    assert is_version("models:/encoder/12")
    assert not is_version("models:/encoder@champion")
    assert not is_version("outputs/encoder")
    with pytest.raises(ValueError, match="by its number"):
        record(judged(version="models:/encoder@champion"), Home(place("/tmp"), "sqlite://"), {})  # noqa: S108
