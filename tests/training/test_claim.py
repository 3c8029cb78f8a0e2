"""Of two commands that train one run the second is refused; what a killed one held is free."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import ray
from records import small_dataset
from small import SMALL, small_recipe

from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.training import claim, launch
from mricore.training.claim import InUseError, claimed
from mricore.training.launch import RunRecord, run_name, write_record
from mricore.workflows.pretrain import Request, pretrain

pytestmark = pytest.mark.usefixtures("ray_cluster")
BUCKET = Place("s3://bucket/runs/tiny-0123456789")  # nothing is written there
HOLDS_THE_FILE = """
import sys, time
from mricore.data.storage import Place
from mricore.training.claim import _by_file
with _by_file(Place(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def impatient(monkeypatch, tmp_path):
    """A function that sets how long is waited; at first not at all."""
    monkeypatch.setattr(claim.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))

    def wait(seconds):
        monkeypatch.setattr(claim, "PATIENCE", seconds)

    wait(0.0)
    return wait


@pytest.fixture
def shared(monkeypatch):
    """As if this cluster had been joined."""
    monkeypatch.setenv("RAY_ADDRESS", "auto")


def test_in_a_cluster_of_its_own_a_command_needs_no_actor(tmp_path, monkeypatch, impatient):
    def names():
        return {one["name"] for one in ray.util.list_named_actors(all_namespaces=True)}

    before = names()
    with claimed(Place(str(tmp_path / "run"))):
        assert names() == before
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        with claimed(Place(str(tmp_path / "other"))):
            (name,) = names() - before
    assert str(tmp_path) not in name


@pytest.mark.parametrize("where", ["bucket", "disk"])
@pytest.mark.parametrize("by", ["file and actor", "file", "actor"])
@pytest.mark.usefixtures("shared")
def test_a_second_claim_is_refused_and_one_after_it_is_not(where, by, tmp_path, impatient, capsys):
    run = BUCKET if where == "bucket" else Place(str(tmp_path / "runs/tiny-0123456789"))
    hold = {"file and actor": claimed, "file": claim._by_file, "actor": claim._by_actor}[by]
    with hold(run):
        with hold(Place(f"{run.uri}-1")):  # another run
            pass
        with (
            pytest.raises(InUseError, match="works on tiny-0123456789 -> wait for its end") as caught,
            hold(run),
        ):
            pass
        assert str(tmp_path) not in str(caught.value)
    assert capsys.readouterr().out == ""  # the first look was the last
    impatient(20.0)  # Ray forgets a name a moment after its actor
    with hold(run):
        pass


@pytest.mark.parametrize("where", ["bucket", "disk"])
def test_a_killed_process_without_this_cluster_gives_back_what_it_held(
    where, tmp_path, impatient, monkeypatch
):
    run = BUCKET if where == "bucket" else Place(str(tmp_path / "run"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    command = [sys.executable, "-c", HOLDS_THE_FILE, run.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            with pytest.raises(InUseError), claimed(run):
                pass
        finally:
            process.kill()
    with claimed(run):
        pass


def test_a_process_of_the_cluster_that_dies_gives_back_what_it_held_while_another_waits(impatient, capsys):
    @ray.remote(num_cpus=0)
    class Command:
        """Holds a run until it is killed."""

        def hold(self):
            self.held = claim._by_actor(BUCKET)
            self.held.__enter__()

    command = Command.remote()
    ray.get(command.hold.remote())
    with pytest.raises(InUseError), claim._by_actor(BUCKET):
        pass
    impatient(20.0)
    ray.kill(command)
    with claimed(BUCKET):
        pass
    told = capsys.readouterr().out
    assert told in ("", "another command works on tiny-0123456789: waiting 20 s for its end\n")


def test_a_disk_without_locks_is_told_and_used(impatient, tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(claim.fcntl, "flock", flock)
    with claimed(Place(str(tmp_path / "run"))):
        assert "the disk has no locks" in caplog.text


def test_a_place_that_cannot_be_written_is_one_line(impatient, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"), claimed(Place(str(tmp_path / "file/run"))):
        pass


def test_a_second_pretraining_is_refused_and_touches_neither_files_nor_mlflow(
    tmp_path, impatient, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    manifest = small_dataset(place(str(tmp_path / "dataset")), 64)
    runs = Place(str(tmp_path / "outputs/runs"))
    name = run_name(small_recipe(), manifest)
    write_record(runs, RunRecord(name, "of the first command"))
    folder = Path(runs.uri) / name
    listed, fresh = "checkpoint_2026-01-01_00-00-00.000000", "checkpoint_2026-01-01_00-01-00.000000"
    for checkpoint in (listed, fresh):  # the controller has not listed the newest one yet
        (folder / checkpoint).mkdir()
    results = {"checkpoint_results": [{"checkpoint_dir_name": listed}]}
    (folder / "checkpoint_manager_snapshot.json").write_text(json.dumps(results))
    held = launch.training(runs, small_recipe(), manifest)
    before = {path.name for path in folder.iterdir()}
    request = Request("tiny", tuple(SMALL), str(tmp_path / "dataset"), None, Path("key"))
    with claimed(held), pytest.raises(InUseError):
        pretrain(request)
    assert {path.name for path in folder.iterdir()} == before | {"in_use"}
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.search_runs([one.experiment_id for one in client.search_experiments()]) == []
