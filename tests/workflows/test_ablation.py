"""The ablation entry point, with real trainings under Ray Tune: together, one by one, and after a kill."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from jobs_apart import ROOT, all_files, environment
from records import small_dataset
from small import FEW_REPORTS
from small_data import small_collection
from small_studies import QUICK

from jobs.pretrain import main as pretrain_main
from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.study_records import StudyResult
from mricore.training.telemetry import Tracked
from mricore.tuning.study import Trial, check_room
from mricore.workflows.ablate import parse_arms
from mricore.workflows.entry import run
from tune.ablate import main as ablate_main

SETTINGS = [part for setting in FEW_REPORTS for part in ("--set", setting)]
STUDY = [
    *(part for setting in QUICK if not setting.startswith("few_shot.") for part in ("--set", setting)),
    *("--set", "data.source=ray", "--set", "train.log_every=4"),
    *("--arm", "long=train.epochs=3", "--arm", "short=train.epochs=2,train.schedule_epochs=3"),
    *("--arm", "ill=optimizer.lr=1e30,train.epochs=3"),
]


@contextlib.contextmanager
def started(folder, name, *more):
    """A study on the folder's dataset in its own process group; what it leaves behind is killed."""
    work = folder / name
    work.mkdir(exist_ok=True)
    command = [sys.executable, "-u", str(ROOT / "tune/ablate.py"), "--data", str(folder / "dataset")]
    with (work / "log").open("a") as log:
        process = subprocess.Popen(
            [*command, *STUDY, *more],
            cwd=work,
            env=environment(folder),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def result_of(folder, name, *more):
    """What a study came to that is left to itself."""
    with started(folder, name, *more) as process:
        code = process.wait(400)
    assert code == 0, (folder / name / "log").read_text()[-3000:]
    return StudyResult.from_json((folder / name / "outputs/studies/arms/study.json").read_bytes())


def encoders(result):
    return {arm.name: (arm.state, arm.run, arm.encoder, arm.steps) for arm in result.arms}


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.faults
def test_a_study_gives_the_same_encoders_together_one_by_one_and_after_a_kill(short_folder):
    """The names of encoders' folders are digests of their weights."""
    small_dataset(place(str(short_folder / "dataset")), 64)
    together = encoders(result_of(short_folder, "together", "--max-concurrent", "2"))
    assert [state for state, *_ in together.values()] == ["finished", "finished", "ill"]
    assert len({encoder for _, _, encoder, _ in together.values()}) == 3
    assert together["ill"][2] == ""
    told = (short_folder / "together" / "log").read_text()
    assert re.search(r"^training long, short: step [0-9]+/[0-9]+, epoch 3/3, .*done$", told, re.MULTILINE)
    log = short_folder / "killed" / "log"
    with started(short_folder, "killed", "--max-concurrent", "1") as process:
        end = time.monotonic() + 200
        while not log.exists() or "training 1 of 2" not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = result_of(short_folder, "killed", "--max-concurrent", "1")
    assert "1 of 2 trainings are done already" in log.read_text()
    assert encoders(again) == together
    assert len(list(short_folder.glob("killed/outputs/runs/*/run.json"))) == 2
    assert not list(short_folder.glob("killed/outputs/datasets/*"))  # the dataset is shared, not copied
    assert list(short_folder.glob("killed/outputs/runs/tune/*"))
    for file in all_files(short_folder / "killed/outputs"):  # the address of MLflow may hold a password
        assert b"mlflow.db" not in file.read_bytes(), file


def test_arms_are_read_and_mistakes_are_told():
    found = parse_arms(["a=seed=1,train.epochs=2", "m=augment.mask_ratio=[0.2,0.3],seed=1"])
    assert {arm.name: arm.settings for arm in found} == {
        "a": ("seed=1", "train.epochs=2"),
        "m": ("augment.mask_ratio=[0.2,0.3]", "seed=1"),
    }
    for wrong in (["a"], ["a=seed"], ["=seed=1"]):
        with pytest.raises(UserError):
            parse_arms(wrong)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--arm", "a=curation.seed=1", "--arm", "b=curation.seed=2"], "share one dataset"),
        (["--arm", "a=seed=1", "--arm", "a=seed=2"], "'a' is there twice"),
        (["--study", "papers"], "epochs_complete, learning_rate, paper"),
        (["--recipe", "huge"], "tiny"),
        (["--study", "paper", "--recipe", "tiny"], "initial.layout=none"),
        (["--task", "nothing=nowhere"], "nothing"),
    ],
)
def test_studies_that_cannot_be_are_refused(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert run(ablate_main, arguments) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("outputs/*/*"))


def test_a_training_that_the_machine_cannot_hold_is_refused_at_once(
    tmp_path, monkeypatch, capsys, ray_cluster
):
    small_collection(tmp_path / "dicom")
    monkeypatch.chdir(tmp_path)
    arguments = ["--data", str(tmp_path / "dicom"), "--key", str(tmp_path / "key"), *SETTINGS]
    assert run(pretrain_main, [*arguments, "--set", "data.lanes=8", "--set", "train.workers=8"]) == 2
    assert "8 CPUs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "told"),
    [
        (["train.workers=2"], 4, 0, None),
        (["train.workers=2"], 3, 0, "need 4 CPUs"),
        (["train.workers=2", "train.min_workers=1"], 2, 0, None),
        (["train.workers=2", "train.min_workers=1"], 1, 0, "need 2 CPUs"),
        (["train.gpu=true"], 4, 1, "need 2 GPUs"),
        (["train.gpu=true"], 4, 2, None),
        (["train.gpu=true", "train.gpus_per_worker=0.5"], 4, 1, None),
        (["train.gpu=true", "train.gpus_per_worker=0.75"], 4, 1, "need 1.5 GPUs"),
    ],
)
def test_trainings_that_would_wait_for_each_other_are_refused(settings, cpus, gpus, told, monkeypatch):
    monkeypatch.setattr("mricore.tuning.study.cluster_cpus", lambda: float(cpus))
    monkeypatch.setattr("mricore.tuning.study.cluster_gpus", lambda: float(gpus))
    recipe = apply_overrides(recipe_named("tiny"), ["train.workers=1", *settings])
    trials = [Trial(recipe, name, Tracked("", "", "")) for name in "abc"]
    if told is None:
        check_room(trials, 2)
    else:
        with pytest.raises(UserError, match=told):
            check_room(trials, 2)
