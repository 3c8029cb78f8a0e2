"""The main job from end to end with real parts: an S3 server, an MLflow server, Ray, killed processes."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
import mlflow
import numpy as np
import pytest
from jobs_apart import ROOT, all_files, environment, objects, output_of, upload
from planted import PLANTED, plant_identifiers, planted_in
from servers import BIN, S3Server, free_ports, mlflow_server, running, s3_server
from small import FEW_REPORTS
from small_data import small_collection
from training_faults import checkpoints, truncate, wait_until

import mricore

SETTINGS = [part for setting in FEW_REPORTS for part in ("--set", setting)]


def job(*arguments):
    return [sys.executable, "-u", str(ROOT / "jobs" / "pretrain.py"), *arguments]


@pytest.mark.servers
@pytest.mark.slow
def test_no_planted_identifier_reaches_any_output(short_folder, monkeypatch):
    """DICOM in a bucket -> dataset and run in a bucket, encoder in an MLflow server: all bytes are read."""
    folder = short_folder
    small_collection(folder / "clean")
    plant_identifiers(folder / "clean", folder / "planted")
    planted = {word for path in all_files(folder / "planted") for word in planted_in(path.read_bytes())}
    assert planted == set(PLANTED) - {"FILENAMESECRET"}  # which only names of files have
    (folder / "work").mkdir()
    with s3_server(folder / "s3") as s3, mlflow_server(folder / "mlflow") as tracking:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        upload(folder / "planted", "pacs")
        boto3.client("s3").create_bucket(Bucket="mri")
        settings = environment(folder, MLFLOW_TRACKING_URI=tracking, **s3)
        curation = [sys.executable, str(ROOT / "jobs" / "curate.py"), "s3://pacs", "s3://mri/dataset"]
        short = ["--set", "train.epochs=1"]
        training = job("--data", "s3://pacs", "--out", "s3://mri/out", *SETTINGS, *short)
        said = b"".join(output_of(command, folder / "work", settings) for command in (curation, training))
        assert planted_in(said) == []
        assert b"raw DICOM, curated into the cache s3://mri/out/datasets/" in said

        local = all_files(folder / "work", folder / "ray", folder / "mlflow", folder / ".mricore")
        written = {str(path): path.read_bytes() for path in local} | objects("mri")
        suffixes = {Path(name).suffix for name in written}
        assert suffixes >= {".parquet", ".json", ".html", ".safetensors", ".db"}
        leaks = {name: found for name, content in written.items() if (found := planted_in(content))}
        assert leaks == {}
        assert planted_in("\n".join(written).encode()) == []

        mlflow.set_tracking_uri(tracking)
        encoder = mricore.load("models:/mri-core@champion")
        slices = np.random.default_rng(0).integers(0, 4000, (3, 50, 40), dtype=np.uint16)
        embeddings = encoder(slices)
        assert embeddings.shape == (3, 24)
        model = mlflow.pyfunc.load_model("models:/mri-core@champion")
        np.testing.assert_array_equal(model.predict(slices), embeddings)
        version = mlflow.MlflowClient().get_model_version_by_alias("mri-core", "champion")
        assert "k-NN accuracy" in version.description
    mlflow.set_tracking_uri(None)


LONGER = ["--set", "train.epochs=6", "--set", "train.checkpoint_seconds=2"]
STEPS = 48


@pytest.fixture(scope="module")
def uninterrupted():
    """A folder with a small collection, and {step: losses} of a job that trained on it undisturbed."""
    folder = Path(tempfile.mkdtemp(prefix="m"))
    small_collection(folder / "dicom")
    command, settings, work = prepared(folder, "whole")
    output_of(command, work, settings)
    yield folder, logged_losses(work)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_job_continues_from_its_checkpoint_as_if_nothing_had_happened(uninterrupted):
    """kill -9 of the driver after the first checkpoint, then the same command, then once more."""
    folder, expected = uninterrupted
    command, settings, work = prepared(folder, "killed")
    saved = kill_after_checkpoint(command, work, settings)
    assert 0 < saved < STEPS
    assert b"continuing the interrupted run" in output_of(command, work, settings)
    values = logged_losses(work)
    assert {step: set(found) for step, found in values.items()} == {
        step: set(found) for step, found in expected.items()
    }
    assert sorted(values) == list(range(1, STEPS + 1))
    for step in range(1, saved + 1):
        assert len(values[step]) == 1, f"step {step} was done again though a checkpoint had it"
    assert b"this run is finished" in output_of(command, work, settings)
    assert logged_losses(work) == values


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_job_goes_on_with_another_number_of_workers(uninterrupted):
    folder, expected = uninterrupted
    command, settings, work = prepared(folder, "fewer")
    saved = kill_after_checkpoint(command, work, settings)
    output_of([*command, "--set", "train.workers=1"], work, settings)
    values = logged_losses(work, exactly=False)
    assert values.keys() == expected.keys()
    for step, found in values.items():
        assert found == pytest.approx(expected[step] * len(found), rel=1e-3), step
        assert len(found) == 1 or step > saved


@pytest.mark.faults
@pytest.mark.slow
def test_ctrl_c_then_a_damaged_shard_then_a_truncated_checkpoint(uninterrupted):
    """Each ends with its own code and line, and the same command continues as if nothing had happened."""
    folder, expected = uninterrupted
    command, settings, work = prepared(folder, "interrupted")
    with started(command, work, settings) as process:
        (run,) = wait_until(lambda: list(work.glob("outputs/runs/*")))
        wait_until(lambda: len(checkpoints(run)) > 1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    said = (work / "job.log").read_text()
    assert said.endswith("interrupted; the same command continues\n")
    assert "Traceback" not in said

    shards = {path: path.read_bytes() for path in work.glob("outputs/datasets/*/shards/*.parquet")}
    for path, content in shards.items():
        path.write_bytes(
            bytes(byte ^ 1 for byte in content[: len(content) // 2]) + content[len(content) // 2 :]
        )
    refused = subprocess.run(
        command, cwd=work, env=settings, capture_output=True, text=True, check=False, timeout=240
    )
    assert refused.returncode == 2
    problem, _ = refused.stderr.splitlines()[-2:]
    assert problem.startswith("error: ")
    assert "shards/" in problem
    assert "Traceback" not in refused.stderr
    for path, content in shards.items():
        path.write_bytes(content)

    before, newest = checkpoints(run)[-2:]
    truncate(newest)
    said = output_of(command, work, settings).decode()
    assert f"checkpoint {newest.name} is damaged: the run goes on from {before.name}" in said
    values = logged_losses(work)
    assert {step: set(found) for step, found in values.items()} == {
        step: set(found) for step, found in expected.items()
    }


@pytest.mark.faults
@pytest.mark.servers
@pytest.mark.slow
def test_a_storage_server_that_is_away_for_20_seconds_is_waited_for(uninterrupted, short_folder, monkeypatch):
    """Dataset and checkpoints are in its bucket; no worker is started again."""
    folder, expected = uninterrupted
    command, settings, work = prepared(folder, "outage")
    server = S3Server(short_folder / "s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with server.running():
        boto3.client("s3").create_bucket(Bucket="mri")
        process = subprocess.Popen(
            [*command, "--out", "s3://mri/out"],
            cwd=work,
            env={**settings, **server.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        wait_until(lambda: any(name.endswith("snapshot.json") for name in names_in("mri")))
    time.sleep(20)
    with server.running():
        said = process.communicate(timeout=240)[0].decode()
    assert process.returncode == 0, said[-3000:]
    assert "failed" not in said
    values = logged_losses(work)
    assert values == {step: list(found) for step, found in expected.items()}


@pytest.mark.servers
@pytest.mark.slow
def test_without_arguments_phantoms_become_a_champion_that_plain_calls_load(short_folder):
    """What a newcomer gets, only smaller: lines, progress, files, and the two documented ways to load."""
    settings = environment(short_folder)
    said = output_of(job(*SETTINGS, "--set", "train.epochs=1"), short_folder, settings).decode()
    assert said.splitlines()[0].startswith("mricore: recipe tiny on generated phantoms, not patients")
    for pattern in (
        r"generating: [\d,]+/[\d,]+ phantom patients",
        r"indexing: [\d,]+/[\d,]+ files, [\d,.]+/s, (ETA|in) ",
        r"reading: [\d,]+/[\d,]+ images",
        r"writing: [\d,]+/[\d,]+ shards",
        r"training: starting 2 workers: processes, weights, first batches",
        r"training: step [\d,]+/[\d,]+, epoch 1/1, loss [\d.]+, [\d,.]+ slices/s, \d+% of the time waiting "
        r"for data, (ETA|done)",
        r"dataset manifest: .*manifest\.json",
        r"MLflow run: ",
        r"MLflow UI: +\.venv/bin/mlflow ui --backend-store-uri sqlite:",
        r"model: +models:/mri-core/1 = models:/mri-core@champion",
    ):
        assert re.search(pattern, said), pattern
    (report,) = re.findall(r"report: +(\S+)", said)
    page = Path(report).read_text()
    for heading in (
        "Generated phantoms",
        "Slices in",
        "Crops out",
        "Losses",
        "Health",
        "What the features see",
    ):
        assert heading in page
    for heading in ("Body location", "Where the time went", "What was left out"):
        assert heading in page
    use = """
import mlflow, mricore, numpy
images = numpy.random.default_rng(0).integers(0, 900, (2, 40, 30))
encoder = mricore.load("models:/mri-core@champion")
model = mlflow.pyfunc.load_model("models:/mri-core@champion")
print(numpy.array_equal(encoder(images), model.predict(images)), encoder(images).shape)
"""
    assert b"True (2, 24)" in output_of([sys.executable, "-c", use], short_folder, settings)
    publishing = [sys.executable, str(ROOT / "jobs" / "publish.py")]
    name = Path(report).parent.name
    again = output_of([*publishing, name], short_folder, settings)
    assert b"models:/mri-core@champion is this version already" in again
    told = output_of([*publishing, "--lineage", "models:/mri-core@champion"], short_folder, settings).decode()
    assert f"run:         {name}, " in told
    assert "audit.json, judgement.json, manifest.json, recipe.json, report.html" in told
    dataset = str(Path(re.search(r"dataset manifest: (\S+)", said).group(1)).parent)
    asked = ["--dataset", dataset, "--encoder", "models:/mri-core@champion"]
    judging = output_of([sys.executable, str(ROOT / "eval" / "knn.py"), *asked], short_folder, settings)
    assert b"knn (strict), accuracy, location of dataset" in judging
    client = mlflow.MlflowClient(f"sqlite:///{short_folder / 'mlflow.db'}")
    version = client.get_model_version_by_alias("mri-core", "champion")
    stored = mlflow.artifacts.download_artifacts(
        run_id=version.run_id, artifact_path="recipe.json", tracking_uri=client.tracking_uri
    )
    assert json.loads(Path(stored).read_text())["model"]["dim"] == 24


def names_in(bucket):
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def prepared(folder, name):
    """The command of a job on the folder's collection, its environment, and a working folder for it."""
    (folder / name).mkdir()
    return job("--data", str(folder / "dicom"), *SETTINGS, *LONGER), environment(folder), folder / name


@contextlib.contextmanager
def started(command, work, settings):
    """A job in its own process group, which writes to ``job.log``; what it leaves behind is killed."""
    with (work / "job.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=work, env=settings, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def kill_after_checkpoint(command, work, settings):
    """Start the job, wait for a checkpoint, kill the driver, and then whatever it leaves behind."""
    with started(command, work, settings) as process:
        end = time.monotonic() + 120
        while not saved_steps(work):
            assert process.poll() is None, (work / "job.log").read_text()[-2000:]
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(2)
    return saved_steps(work)


def saved_steps(work):
    """Steps of the newest checkpoint that counts: Ray Train goes by its snapshot, not by the folders."""
    saved = 0
    for snapshot in work.glob("outputs/runs/*/checkpoint_manager_snapshot.json"):
        with contextlib.suppress(ValueError):  # it is being written
            results = json.loads(snapshot.read_text())["checkpoint_results"]
            saved = max([result["metrics"]["step"] for result in results], default=0)
    return saved


def logged_losses(work, exactly=True):
    """{step: values of the total loss} of the only run; a replayed step has several, ``exactly`` equal."""
    client = mlflow.MlflowClient(f"sqlite:///{work / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("mricore").experiment_id])
    losses = {}
    for metric in client.get_metric_history(run.info.run_id, "loss/total"):
        losses.setdefault(metric.step, []).append(metric.value)
    if exactly:
        assert all(len(set(values)) == 1 for values in losses.values()), "a replayed step had another loss"
    return losses


@pytest.mark.servers
@pytest.mark.slow
def test_ray_job_submit_with_token_authentication(short_folder):
    """The documented commands on a running Ray head; without the token nothing is accepted."""
    small_collection(short_folder / "dicom")
    port, dashboard, agent = free_ports(3)
    settings = environment(short_folder, RAY_AUTH_MODE="token")
    (short_folder / ".ray").mkdir()
    (short_folder / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    head = [
        str(BIN / "ray"),
        "start",
        "--head",
        "--block",
        "--node-ip-address=127.0.0.1",
        f"--port={port}",
        "--num-cpus=2",
    ]
    head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--disable-usage-stats"]
    # the agent's usual port belongs to the Ray that other tests of this run share
    head += ["--object-store-memory=300000000", f"--dashboard-agent-listen-port={agent}"]
    url = f"http://127.0.0.1:{dashboard}"
    with running(head, f"{url}/api/version", short_folder / "head.log", settings):
        wait_for_agent(url, settings)
        submit = [
            str(BIN / "ray"),
            "job",
            "submit",
            "--address",
            url,
            "--working-dir",
            ".",
        ]
        refused = subprocess.run(
            [*submit, "--", "true"],
            cwd=ROOT,
            env={**settings, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            check=False,
        )
        assert refused.returncode != 0
        assert b"uthenticat" in refused.stdout + refused.stderr
        dataset = str(short_folder / "dataset")
        for arguments in (
            ["python", "jobs/curate.py", str(short_folder / "dicom"), dataset],
            ["python", "jobs/pretrain.py", "--data", dataset, *SETTINGS],
        ):
            result = subprocess.run(
                [*submit, "--", *arguments],
                cwd=ROOT,
                env=settings,
                capture_output=True,
                text=True,
                check=False,
                timeout=240,
            )
            assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]
        assert "models:/mri-core@champion" in result.stdout
    assert list((short_folder / "mricore" / "outputs" / "runs").glob("*/report.html"))


def wait_for_agent(url, settings):
    """A head answers some seconds before it can run jobs."""
    probe = [str(BIN / "ray"), "job", "submit", "--address", url, "--", "true"]
    end = time.monotonic() + 90
    while subprocess.run(probe, env=settings, capture_output=True, check=False).returncode:
        assert time.monotonic() < end
        time.sleep(1)
