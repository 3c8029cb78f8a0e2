"""Exit codes and messages of the jobs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.curate import main as curate_main
from jobs.pretrain import main as pretrain_main
from mricore.workflows.entry import run

ROOT = Path(__file__).parents[2]
JOBS = (
    *(
        "jobs/curate.py",
        "jobs/curate_tasks.py",
        "jobs/plan.py",
        "jobs/pretrain.py",
        "jobs/export.py",
        "jobs/publish.py",
    ),
    *("eval/few_shot.py", "eval/linear_probe.py", "eval/zero_shot.py", "eval/patch_probe.py", "eval/knn.py"),
    *("eval/compare.py", "eval/report.py", "tune/ablate.py"),
)


@pytest.mark.parametrize(
    ("main", "arguments", "told"),
    [
        (pretrain_main, ["huge"], "tiny"),
        (pretrain_main, ["--set", "optimizer.learning_rate=1"], "optimizer.lr"),
        (pretrain_main, ["--set", "train.epochs=none"], "train.epochs"),
        (pretrain_main, ["--data", "/nowhere/at/all"], "nothing found"),
        (pretrain_main, ["--data", "ftp://host/x"], "s3://"),
        (curate_main, ["/nowhere/at/all", "out"], "nothing found"),
        (curate_main, [".", "out", "--set", "train.epochs=3"], "curation."),
        (pretrain_main, ["--data", ""], "empty address"),
        (pretrain_main, ["--out", ""], "empty address"),
        (pretrain_main, ["--data", "s3://"], "no bucket"),
        (pretrain_main, ["--out", "/dev/null/out"], "not a folder"),
        (pretrain_main, ["--set", "seed=-1"], "seed"),
        (pretrain_main, ["--set", "augment.global_scale=[0.9,0.2]"], "must not be above"),
        (pretrain_main, ["--set", "optimizer.betas=[1.5,0.9]"], "optimizer.betas"),
        (pretrain_main, ["--set", "model.attention=xformers"], "train.gpu=true"),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_exit_code_2(
    main, arguments, told, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run(main, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", JOBS)
def test_help_explains_each_job(job):
    result = subprocess.run(
        [sys.executable, job, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "usage: " + job in result.stdout


def raising(error):
    def main(_):
        raise error

    return main


def test_an_interrupted_job_says_how_to_go_on(capsys):
    assert run(raising(KeyboardInterrupt())) == 130
    assert "same command continues" in capsys.readouterr().err


def test_a_fault_of_ours_passes_through():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_a_fault_of_ours_exits_with_1():
    code = "import sys; from mricore.workflows.entry import run; sys.exit(run(lambda _: 1 / 0))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert result.returncode == 1
    assert b"ZeroDivisionError" in result.stderr


def test_the_process_exits_with_2_and_without_a_traceback():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "jobs/pretrain.py", "--set", "nonsense=1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "valid names" in result.stderr
