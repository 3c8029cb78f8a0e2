"""What a study is said to take before it is begun."""

import re
from itertools import pairwise

import pytest
from records import small_dataset
from small import SMALL, small_recipe

from mricore.data.storage import place
from mricore.study_records import StudyResult
from mricore.workflows import study_forecast
from mricore.workflows.entry import run
from mricore.workflows.study_forecast import cost_of, makespan
from tune.ablate import main as ablate_main

SETTINGS = [part for setting in (*SMALL, "train.workers=1") for part in ("--set", setting)]
FILE = """
name = "lengths"
title = "Lengths"
recipe = "tiny"
baseline = "before"
[[arm]]
name = "before"
untrained = true
[[arm]]
name = "long"
settings = ["train.epochs=8"]
[[arm]]
name = "short"
settings = ["train.epochs=2", "train.schedule_epochs=8"]
"""
ARMS = ["--arm", "long=train.epochs=8", "--arm", "short=train.epochs=2,train.schedule_epochs=8"]


def test_trainings_begin_as_soon_as_there_is_room():
    assert makespan([3.0, 1.0, 2.0, 4.0], 1) == 10
    assert makespan([3.0, 1.0, 2.0, 4.0], 2) == 7  # 3 + 4 beside 1 + 2
    assert makespan([3.0, 1.0, 2.0, 4.0], 9) == 4
    lengths = [makespan([5.0, 2.0, 8.0, 1.0, 3.0], at_once) for at_once in range(1, 7)]
    assert all(more >= fewer for more, fewer in pairwise(lengths))


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ("optimizer.lr=1e-5", True),
        ("seed=9", True),
        ("train.epochs=9", True),
        ("data.replacement=true", True),
        ("data.normalization=volume", True),
        ("train.batch_size=32", False),
        ("augment.local_crops=3", False),
        ("model.depth=3", False),
    ],
)
def test_one_measurement_serves_all_steps_of_a_kind(setting, same):
    assert (cost_of(small_recipe()) == cost_of(small_recipe(setting))) is same


def test_a_dry_run_tells_the_trainings_and_their_cost_and_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study_forecast, "SECONDS", 2.0)
    small_dataset(place(str(tmp_path / "dataset")), 64)
    (tmp_path / "lengths.toml").write_text(FILE)
    given = ["--study", "lengths.toml", "--data", "dataset", "--dry-run", *SETTINGS]
    assert run(ablate_main, given) == 0
    told = capsys.readouterr().out
    assert "3 arms, 1 trainings" in told
    assert re.search(r"none +0 +before +0 s", told)
    assert "long (8), short (2)" in told
    assert told.count("measuring") == 1
    assert "CPU-hours" in told
    assert not (tmp_path / "outputs/runs").exists()
    assert not (tmp_path / "mlflow.db").exists()
    result = StudyResult.from_json((tmp_path / "outputs/studies/lengths/forecast.json").read_bytes())
    assert not (tmp_path / "outputs/studies/lengths/study.json").exists()  # the study may be running
    before = result.arm("before")
    assert (before.epoch, before.epochs, before.seconds_predicted) == (0, 0, 0.0)
    long, short = (result.arm(name) for name in ("long", "short"))
    assert 0 < short.seconds_predicted < long.seconds_predicted
    assert {arm.state for arm in result.arms} == {"waiting"}


def test_a_dry_run_says_what_it_needs_where_nothing_is_curated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(ablate_main, ["--dry-run", *SETTINGS, *ARMS]) == 2
    captured = capsys.readouterr()
    assert "long (8), short (2)" in captured.out
    assert "jobs/curate.py" in captured.err
