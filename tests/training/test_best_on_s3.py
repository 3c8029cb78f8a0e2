"""The best checkpoints of a run that lives in a bucket."""

import json

import pytest
from servers import s3_server

from mricore.data.storage import place
from mricore.training.best import Best


@pytest.mark.servers
def test_the_best_checkpoints_are_kept_in_a_bucket(tmp_path, monkeypatch):
    import boto3

    files = tmp_path / "files"
    (files / "deep").mkdir(parents=True)
    with s3_server(tmp_path / "s3") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="mri")
        run = place("s3://mri/runs/one")
        run.write_bytes("best_left_by_a_kill/state.json", b"half")
        for number, score in enumerate([0.2, 0.5, 0.3, 0.1, 0.5]):
            (files / "state.json").write_text(str(number))
            (files / "deep" / "tensors").write_bytes(bytes([number]) * 1000)
            Best(run, 2).offer(files, f"checkpoint_{number}", score)
        found = {file.path: run.read_bytes(file.path) for file in run.files()}
    assert [entry["name"] for entry in json.loads(found.pop("best.json"))] == ["best_1", "best_4"]
    assert found == {
        **{f"best_{number}/state.json": str(number).encode() for number in (1, 4)},
        **{f"best_{number}/deep/tensors": bytes([number]) * 1000 for number in (1, 4)},
    }
