"""Curation as a process: killed at any point, from and to a bucket, and told what is wrong in one line."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
import pytest
from jobs_apart import ROOT, environment, output_of, upload
from servers import s3_server
from small_data import small_collection

from mricore.data.manifest import MANIFEST, read_manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import place

SETTINGS = ["--set", "curation.slices_per_shard=4", "--set", "curation.slices_per_row_group=2"]


def curation(*arguments):
    return [sys.executable, "-u", str(ROOT / "jobs" / "curate.py"), *map(str, arguments)]


@pytest.fixture(scope="module")
def whole():
    """A folder with an archive and a dataset that was made of it undisturbed, and its environment."""
    folder = Path(tempfile.mkdtemp(prefix="m"))
    small_collection(folder / "dicom")
    settings = environment(folder)
    output_of(curation(folder / "dicom", folder / "whole", *SETTINGS), folder, settings)
    yield folder, settings
    shutil.rmtree(folder, ignore_errors=True)


def slices(target):
    manifest = read_manifest(target)
    return [one.slice_id for one in sample_slices(target, manifest, manifest.counts["slices"], 0)]


def killed_when(sign, command, folder, settings):
    """Start a job and kill -9 it and all its processes as soon as a file matches ``sign``."""
    process = subprocess.Popen(
        command, cwd=folder, env=settings, stdout=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + 120
    while not any(folder.glob(sign)) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    was_running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return was_running


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("sign", ["index/*.parquet", "work/*.arrow", "ledger/*.parquet", "shards/*.parquet"])
def test_a_killed_curation_goes_on_and_loses_and_doubles_nothing(whole, sign):
    folder, settings = whole
    name = sign.split("/")[0]
    command = curation(folder / "dicom", folder / name, *SETTINGS)
    assert killed_when(f"{name}/{sign}", command, folder, settings)
    assert not (folder / name / MANIFEST).exists()
    output_of(command, folder, settings)
    found, expected = place(str(folder / name)), place(str(folder / "whole"))
    assert read_manifest(found).digest == read_manifest(expected).digest
    assert len(set(slices(found))) == len(slices(found)) == read_manifest(expected).counts["slices"]
    assert {file.path for file in found.files()} == {file.path for file in expected.files()}


@pytest.mark.servers
@pytest.mark.slow
def test_buckets_give_what_folders_give_and_mistakes_are_told(whole, monkeypatch):
    """SOURCE and DESTINATION in S3; then no such bucket, a wrong secret, one place inside the other."""
    folder, settings = whole
    with s3_server(folder / "s3") as s3:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        upload(folder / "dicom", "pacs")
        boto3.client("s3").create_bucket(Bucket="mri")
        remote = {**settings, **s3}
        output_of(curation("s3://pacs", "s3://mri/set", *SETTINGS), folder, remote)
        found = place("s3://mri/set")
        assert read_manifest(found).digest == read_manifest(place(str(folder / "whole"))).digest
        assert found.names("work") == []
        again = output_of(curation("s3://pacs", "s3://mri/set", *SETTINGS), folder, remote)
        assert b"nothing to do" in again
        for source, target, changes, told in (
            ("s3://nowhere", "s3://mri/other", {}, b"no such bucket"),
            ("s3://pacs", "s3://nowhere/set", {}, b"no such bucket"),
            ("s3://pacs", "s3://mri/other", {"AWS_SECRET_ACCESS_KEY": "wrong"}, b"AWS_SECRET_ACCESS_KEY"),
            ("s3://pacs", "s3://pacs/set", {}, b"overlap"),
        ):
            result = subprocess.run(
                curation(source, target),
                cwd=folder,
                env={**remote, **changes},
                capture_output=True,
                check=False,
            )
            assert (result.returncode, b"Traceback" in result.stderr) == (2, False)
            assert told in result.stderr
        assert not place("s3://mri/other").exists()
