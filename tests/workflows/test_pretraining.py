"""The main job from end to end with real parts: an S3 server, an MLflow server, Ray, killed processes."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import mlflow
import numpy as np
import pytest
from servers import BIN, free_ports, mlflow_server, running, s3_server
from small import FEW_REPORTS
from small_data import PLANTED, plant_identifiers, planted_in, small_collection

import mricore

ROOT = Path(__file__).parents[2]
SETTINGS = [part for setting in FEW_REPORTS for part in ("--set", setting)]


def environment(folder, **changes):
    """A process of its own: its home, its Ray, nothing from other tests."""
    ray_folder = folder / "ray"
    ray_folder.mkdir(exist_ok=True)
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "AWS_"))
    }
    path = f"{BIN}{os.pathsep}{own['PATH']}"  # as in an activated environment
    return {
        **own,
        "PATH": path,
        "HOME": str(folder),
        "RAY_TMPDIR": str(ray_folder),
        "PYTHONPATH": str(ROOT),
        **changes,
    }


def job(*arguments):
    return [sys.executable, "-u", str(ROOT / "jobs" / "pretrain.py"), *arguments]


def upload(folder, bucket):
    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        client.upload_file(str(path), bucket, path.relative_to(folder).as_posix())


def all_files(*folders):
    return [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    ]


@pytest.mark.servers
def test_no_planted_identifier_reaches_any_output(short_folder, monkeypatch):
    """DICOM in a bucket -> encoder in an MLflow server; every byte that was written is searched."""
    folder = short_folder
    small_collection(folder / "clean")
    plant_identifiers(folder / "clean", folder / "planted")
    assert {word for path in all_files(folder / "planted") for word in planted_in(path.read_bytes())} > set(
        PLANTED[:5]
    )
    work = folder / "work"
    work.mkdir()
    with s3_server(folder / "s3") as s3, mlflow_server(folder / "mlflow") as tracking:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        upload(folder / "planted", "pacs")
        settings = environment(folder, MLFLOW_TRACKING_URI=tracking, **s3)
        command = job("--data", "s3://pacs", "--out", str(work / "out"), *SETTINGS)
        result = subprocess.run(
            command, cwd=work, env=settings, capture_output=True, check=False, timeout=240
        )
        said = result.stdout + result.stderr
        assert result.returncode == 0, said.decode()[-3000:]
        assert planted_in(said) == []
        written = all_files(work, folder / "ray", folder / "mlflow", folder / ".mricore")
        assert {path.suffix for path in written} >= {".parquet", ".json", ".html", ".safetensors", ".db"}
        leaks = {
            str(path.relative_to(folder)): found
            for path in written
            if (found := planted_in(path.read_bytes()))
        }
        assert leaks == {}
        assert planted_in("\n".join(map(str, written)).encode()) == []

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


@pytest.mark.faults
def test_a_killed_job_continues_from_its_checkpoint(short_folder):
    """kill -9 of the driver after the first checkpoint, then the same command, then once more."""
    command, settings, work = prepared(short_folder, "killed")
    saved = killed_and_continued(command, settings, work)
    values = logged_losses(work)
    assert sorted(values) == list(range(1, STEPS + 1))
    assert 0 < saved < STEPS
    for step in range(1, saved + 1):
        assert len(values[step]) == 1, f"step {step} was done again though a checkpoint had it"
    again = subprocess.run(command, cwd=work, env=settings, capture_output=True, text=True, check=True)
    assert "this run is finished" in again.stdout
    assert logged_losses(work) == values


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_job_ends_with_the_losses_of_one_that_was_never_killed(short_folder):
    command, settings, work = prepared(short_folder, "killed")
    killed_and_continued(command, settings, work)
    _, _, whole = prepared(short_folder, "whole")
    subprocess.run(command, cwd=whole, env=settings, capture_output=True, check=True, timeout=240)
    expected = {step: set(values) for step, values in logged_losses(whole).items()}
    assert {step: set(values) for step, values in logged_losses(work).items()} == expected


def prepared(folder, name):
    """The command of a job on a small collection, its environment, and a working folder for it."""
    if not (folder / "dicom").exists():
        small_collection(folder / "dicom")
    (folder / name).mkdir()
    return job("--data", str(folder / "dicom"), *SETTINGS, *LONGER), environment(folder), folder / name


def killed_and_continued(command, settings, work):
    """Steps that the checkpoint had from which the second process continued."""
    saved = kill_after_checkpoint(command, work, settings)
    result = subprocess.run(
        command, cwd=work, env=settings, capture_output=True, text=True, check=False, timeout=240
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    assert "continuing the interrupted run" in result.stdout
    return saved


def kill_after_checkpoint(command, work, settings):
    """Start the job, wait for a checkpoint, kill the driver, and then whatever it leaves behind."""
    log = (work / "killed.log").open("w")
    process = subprocess.Popen(
        command, cwd=work, env=settings, stdout=log, stderr=log, start_new_session=True
    )
    try:
        end = time.monotonic() + 120
        while not saved_steps(work):
            assert process.poll() is None, (work / "killed.log").read_text()[-2000:]
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        log.close()
    return saved_steps(work)


def saved_steps(work):
    """Steps of the newest checkpoint that counts: Ray Train goes by its snapshot, not by the folders."""
    saved = 0
    for snapshot in work.glob("outputs/runs/*/checkpoint_manager_snapshot.json"):
        with contextlib.suppress(ValueError):  # it is being written
            results = json.loads(snapshot.read_text())["checkpoint_results"]
            saved = max([result["metrics"]["step"] for result in results], default=0)
    return saved


def logged_losses(work):
    """{step: values of the total loss} of the only run; a replayed step has several."""
    client = mlflow.MlflowClient(f"sqlite:///{work / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("mricore").experiment_id])
    losses = {}
    for metric in client.get_metric_history(run.info.run_id, "loss/total"):
        losses.setdefault(metric.step, []).append(metric.value)
    assert all(len(set(values)) == 1 for values in losses.values()), "a replayed step had another loss"
    return losses


@pytest.mark.servers
@pytest.mark.slow
def test_ray_job_submit_with_token_authentication(short_folder):
    """The documented commands on a running Ray head; without the token nothing is accepted."""
    small_collection(short_folder / "dicom")
    port, dashboard = free_ports(2)
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
    head += ["--object-store-memory=300000000"]
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
            str(submittable(short_folder)),
        ]
        refused = subprocess.run(
            [*submit, "--", "true"],
            env={**settings, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            check=False,
        )
        assert refused.returncode != 0
        dataset = str(short_folder / "dataset")
        for arguments in (
            ["python", "jobs/curate.py", str(short_folder / "dicom"), dataset],
            ["python", "jobs/pretrain.py", "--data", dataset, *SETTINGS],
        ):
            result = subprocess.run(
                [*submit, "--", *arguments],
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


def submittable(folder):
    """What a user would submit: the repository's own code, without what is ignored."""
    target = folder / "repository"
    for name in ("mricore", "jobs"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target
