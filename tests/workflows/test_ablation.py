"""The ablation entry point, with two real trainings under Ray Tune."""

import subprocess
import sys
from pathlib import Path

import pytest
from small import FEW_REPORTS
from small_data import small_collection
from test_pretraining import environment

from jobs.pretrain import main as pretrain_main
from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.errors import UserError
from mricore.training.telemetry import Tracked
from mricore.tuning.study import Arm, check_room
from mricore.workflows.ablate import parse_arms
from mricore.workflows.entry import run
from tune.ablate import main as ablate_main

ROOT = Path(__file__).parents[2]
SETTINGS = [part for setting in FEW_REPORTS for part in ("--set", setting)]


@pytest.mark.servers
@pytest.mark.slow
def test_every_arm_is_trained_and_judged_and_the_study_continues(short_folder):
    small_collection(short_folder / "dicom")
    command = [
        sys.executable,
        str(ROOT / "tune" / "ablate.py"),
        "--data",
        str(short_folder / "dicom"),
        *SETTINGS,
    ]
    command += [
        "--set",
        "train.epochs=1",
        "--arm",
        "a=seed=1",
        "--arm",
        "b=seed=2,optimizer.lr=1e-4",
    ]
    outputs = []
    for _ in range(2):
        result = subprocess.run(
            command,
            cwd=short_folder,
            env=environment(short_folder),
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
        outputs.append([line for line in result.stdout.splitlines() if "k-NN accuracy" in line])
    assert len(outputs[0]) >= 2
    assert outputs[0] == outputs[1]
    assert len(list(short_folder.glob("outputs/runs/*/run.json"))) == 2


def test_arms_are_read_and_mistakes_are_told():
    assert parse_arms(["a=seed=1,train.epochs=2", "b=seed=2"]) == {
        "a": ("seed=1", "train.epochs=2"),
        "b": ("seed=2",),
    }
    assert parse_arms(["m=augment.mask_ratio=[0.2,0.3],seed=1"]) == {
        "m": ("augment.mask_ratio=[0.2,0.3]", "seed=1")
    }
    for wrong in (["a"], ["a=seed"], ["a=seed=1", "a=seed=2"]):
        with pytest.raises(UserError):
            parse_arms(wrong)


@pytest.mark.parametrize(
    ("arms", "told"),
    [
        (["a=curation.seed=1", "b=curation.seed=2"], "share one dataset"),
        (["a=optimizer.lr=1e-3", "b=optimizer.lr=0.001,train.log_every=3"], "same settings"),
    ],
)
def test_arms_that_could_not_be_compared_are_refused(arms, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(ablate_main, [part for arm in arms for part in ("--arm", arm)]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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
    ],
)
def test_trainings_that_would_wait_for_each_other_are_refused(settings, cpus, gpus, told, monkeypatch):
    monkeypatch.setattr("mricore.tuning.study.cluster_cpus", lambda: float(cpus))
    monkeypatch.setattr("mricore.tuning.study.cluster_gpus", lambda: float(gpus))
    recipe = apply_overrides(recipe_named("tiny"), ["train.workers=1", *settings])
    arms = [Arm(name, recipe, name, Tracked("", "", "")) for name in "abc"]
    if told is None:
        check_room(arms, 2)
    else:
        with pytest.raises(UserError, match=told):
            check_room(arms, 2)
