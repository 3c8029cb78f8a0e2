"""Publish, gate, demote, roll back and load over HTTP, with runs, datasets and artifacts in buckets."""

import boto3
import mlflow
import numpy as np
import pytest
from finished_runs import dataset_in, encoder_digest, evaluation, finished_run
from servers import mlflow_server, s3_server

import mricore
from jobs.publish import main
from mricore.data.storage import place
from mricore.training.place import Home
from mricore.training.telemetry import require_tracking
from mricore.workflows.entry import run

OUT = "s3://mri/out"


@pytest.mark.servers
@pytest.mark.slow
def test_versions_are_published_gated_taken_back_and_loaded_over_http_and_s3(
    short_folder, monkeypatch, capsys
):
    monkeypatch.chdir(short_folder)
    with s3_server(short_folder / "s3") as s3:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        for bucket in ("mri", "artifacts"):
            boto3.client("s3").create_bucket(Bucket=bucket)
        with mlflow_server(short_folder / "mlflow", "s3://artifacts/mlflow") as uri:
            address = uri.replace("://", "://someone:secret@")
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
            where = Home(place(OUT), uri)
            require_tracking(where)
            told = story(where, short_folder, capsys)
            loads(uri)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)  # MLflow forgets it with its own setting
        told += absent(capsys)
    assert "secret" not in told


def story(where, folder, capsys):
    """Three versions, a promotion, a refusal, a demotion and a rollback; what was printed."""
    dataset = dataset_in(where)
    runs = [finished_run(where, dataset, folder / "made", seed) for seed in range(3)]
    digests = [encoder_digest(where, one) for one in runs]

    def job(*arguments):
        assert run(main, [*arguments, "--out", OUT]) == 0
        return capsys.readouterr().out

    def judged(name, first, second):
        encoders = {f"r{number}": (digests[number], mean) for number, mean in (first, second)}
        return evaluation(folder / name, encoders)

    told = [
        job(runs[0].name),
        job(runs[1].mlflow_run_id, "--evaluation", judged("up", (0, 0.5), (1, 0.6))),
        job(runs[2].name, "--evaluation", judged("down", (1, 0.6), (2, 0.5))),
        job("--demote", "--reason", "fails on wrists"),
        job("--rollback", "2", "--reason", "wrists were mislabelled"),
        job("--lineage", "models:/mri-core@champion"),
    ]
    expected = (
        "models:/mri-core@champion is this version now",
        "models:/mri-core@champion is version 2 now: better in the mean",
        "version 2 stays champion: few_shot (strict), dice_3d, abdomen: is worse",
        "models:/mri-core@champion is version 1 again",
        "models:/mri-core@champion is version 2",
        f"run:         {runs[1].name}, {runs[1].mlflow_run_id}",
    )
    for said, part in zip(told, expected, strict=True):
        assert part in said
    assert "audit.json, judgement.json, manifest.json, recipe.json" in told[-1]
    assert "strict.dice_3d 0." in told[-1]
    return "".join(told)


def loads(uri):
    """Every version by number and the champion by its alias, the same by both ways; artifacts are in S3."""
    images = np.random.default_rng(0).integers(0, 900, (2, 40, 30))
    mlflow.set_tracking_uri(uri)
    try:
        for address in ("models:/mri-core/1", "models:/mri-core/3", "models:/mri-core@champion"):
            embeddings = mricore.load(address)(images)
            np.testing.assert_array_equal(mlflow.pyfunc.load_model(address).predict(images), embeddings)
            assert embeddings.shape == (2, 24)
    finally:
        mlflow.set_tracking_uri(None)
    found = boto3.client("s3").list_objects_v2(Bucket="artifacts")["Contents"]
    names = [one["Key"] for one in found]
    assert sum(name.endswith("embedder.safetensors") for name in names) == 3
    assert any(name.endswith("manifest.json") for name in names)


def absent(capsys):
    """Without the server each command is one line with exit code 2, and shows no password."""
    capsys.readouterr()
    errors = []
    for arguments in (["some-run"], ["--demote"], ["--lineage", "models:/mri-core@champion"]):
        assert run(main, arguments) == 2
        errors.append(capsys.readouterr().err)
        assert errors[-1].startswith("error: MLflow at http://***@127.0.0.1")
        assert errors[-1].count("\n") == 2
    return "".join(errors)
