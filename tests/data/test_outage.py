"""An object store that goes away for a while, and one that does not come back."""

import io
import threading
import time

import numpy as np
import pytest
from records import small_dataset
from servers import S3Server

from mricore.config.schema import Data
from mricore.data import patience
from mricore.data.manifest import read_manifest
from mricore.data.readers import window_reader
from mricore.data.shards import read_rows
from mricore.data.storage import place
from mricore.data.stream import PlannedSource
from mricore.errors import UserError

AWS = "When reading: AWS Error NETWORK_CONNECTION during GetObject operation"


class Outage:
    """Fails so many times, as pyarrow does, then works."""

    def __init__(self, failures, message=AWS):
        self.failures, self.message, self.attempts = failures, message, 0

    def __call__(self):
        self.attempts += 1
        if self.attempts <= self.failures:
            raise OSError(self.message)
        return "content"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 0.2)


@pytest.mark.parametrize(
    "message", [AWS, "AWS Error UNKNOWN (HTTP status 503) during HeadObject", "AWS Error SLOW_DOWN"]
)
def test_an_outage_that_passes_is_waited_out(quick, message):
    outage = Outage(3, message)
    assert patience.outlast(outage) == "content"
    assert outage.attempts == 4


def test_an_outage_that_does_not_pass_ends_after_its_time(quick):
    start = time.monotonic()
    with pytest.raises(patience.OutageError, match="NETWORK_CONNECTION"):
        patience.outlast(Outage(10**6))
    assert 0.2 <= time.monotonic() - start < 2


@pytest.mark.parametrize(
    "message", ["AWS Error ACCESS_DENIED", "AWS Error NO_SUCH_BUCKET", "disk HTTP status 503"]
)
def test_what_would_fail_again_fails_at_once(quick, message):
    outage = Outage(1, message)
    with pytest.raises(OSError, match=message):
        patience.outlast(outage)
    assert outage.attempts == 1


@pytest.mark.faults
def test_a_missing_local_file_is_not_waited_for(tmp_path):
    start = time.monotonic()
    with pytest.raises(UserError, match="nothing found"):
        read_rows(place(str(tmp_path)), "shards/absent.parquet", 0, [0])
    assert time.monotonic() - start < 1


@pytest.fixture
def server(tmp_path, monkeypatch):
    found = S3Server(tmp_path / "s3")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


def fed(source):
    return [batch.slices for batch in source.batches(0, 0)]


@pytest.mark.servers
@pytest.mark.faults
def test_reading_and_writing_go_on_when_the_server_is_killed_and_comes_back(server, monkeypatch):
    """Then it goes away for good, and one line says so."""
    import boto3

    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.5)
    target = place("s3://mri/dataset")
    with server.running():
        boto3.client("s3").create_bucket(Bucket="mri")
        small_dataset(target, 60, per_shard=20, per_group=4)
        manifest = read_manifest(target)
        settings = Data(source="in_process", lanes=4, window_steps=2)
        source = PlannedSource(manifest, settings, 0, 8, 0, 1, window_reader(target, manifest, settings))
        whole = fed(source)
    results = {}

    def read():
        results["fed"] = fed(source)

    def write():
        target.write_bytes("written", b"during the outage")

    threads = [threading.Thread(target=work) for work in (read, write)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    assert not results
    with server.running():
        for thread in threads:
            thread.join(40)
        assert [batch.ids for batch in results["fed"]] == [batch.ids for batch in whole]
        for one, other in zip(results["fed"], whole, strict=True):
            assert all(map(np.array_equal, one.images, other.images))
        with target.reading("written") as file:
            assert isinstance(file, io.BufferedReader)
            assert file.read() == b"during the outage"
    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 0.5)
    with pytest.raises(UserError, match="no connection for") as told:
        fed(source)
    assert "AWS_ENDPOINT_URL" in str(told.value)
    assert "\n" not in str(told.value)
