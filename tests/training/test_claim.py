"""Of two commands that train one run the second is refused; what a killed one held is free."""

import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import ray
from records import small_dataset
from small import SMALL, small_recipe

from mricore.data.storage import Place, place
from mricore.training import claim
from mricore.training.claim import InUseError, claimed
from mricore.training.launch import run_name
from mricore.workflows.pretrain import Request, pretrain

pytestmark = pytest.mark.usefixtures("ray_cluster")
BUCKET = Place("s3://bucket/runs/tiny-0123456789")  # nothing is written there
HOLDS_THE_FILE = """
import sys, time
from mricore.data.storage import Place
from mricore.training.claim import _on_disk
with _on_disk(Place(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(claim, "PATIENCE", 0.0)


@pytest.mark.parametrize("remote", [True, False], ids=["bucket", "disk"])
def test_a_second_claim_is_refused_and_one_after_it_is_not(remote, tmp_path, impatient):
    run = BUCKET if remote else Place(str(tmp_path / "runs/tiny-0123456789"))
    with claimed(run):
        with claimed(Place(f"{run.uri}-1")):  # another run
            pass
        with (
            pytest.raises(InUseError, match="another command trains tiny-0123456789 -> wait") as caught,
            claimed(run),
        ):
            pass
        assert str(tmp_path) not in str(caught.value)
    # Ray forgets a name a moment after its actor
    claim.PATIENCE = 20.0
    with claimed(run):
        pass


def test_the_file_alone_holds_a_run_against_processes_without_this_cluster(tmp_path, impatient):
    run = tmp_path / "run"
    command = [sys.executable, "-c", HOLDS_THE_FILE, str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(InUseError), claimed(Place(str(run))):
                pass
        finally:
            process.kill()
    with claimed(Place(str(run))):
        pass


def test_a_process_of_the_cluster_that_dies_gives_its_run_back(impatient, monkeypatch):
    @ray.remote(num_cpus=0)
    class Command:
        """Holds a run in a bucket until it is killed."""

        def hold(self) -> None:
            self.held = claimed(BUCKET)
            self.held.__enter__()

    command = Command.remote()
    ray.get(command.hold.remote())
    with pytest.raises(InUseError), claimed(BUCKET):
        pass
    ray.kill(command)
    monkeypatch.setattr(claim, "PATIENCE", 20.0)
    with claimed(BUCKET):
        pass


def test_a_second_pretraining_is_refused_and_leaves_the_run_as_it_is(tmp_path, impatient, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    manifest = small_dataset(place(str(tmp_path / "dataset")), 64)
    name = run_name(small_recipe(), manifest)
    request = Request("tiny", tuple(SMALL), str(tmp_path / "dataset"), None, Path("key"))
    run = Place(str(tmp_path / "outputs/runs" / name))
    with claimed(run), pytest.raises(InUseError):
        pretrain(request)
    (logged,) = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["1"])
    assert (logged.info.run_name, logged.info.status) == (name, "RUNNING")
    assert {path.name for path in Path(run.uri).iterdir()} == {"run.json", "in_use"}
