"""Faults done to a real training: workers killed, checkpoints damaged, a disk that is full."""

import subprocess
from collections import Counter

import pytest
from processes import kill
from records import small_dataset
from small import small_recipe
from training_faults import (
    Meanwhile,
    Run,
    checkpoints,
    effective_history,
    train_workers,
    truncate,
    wait_until,
)

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.training import launch

SLICES, EPOCHS = 75, 20
STEPS = 5 * EPOCHS
EVERY_SLICE = {f"slice{number:06d}": 1 for number in range(SLICES)}


def recipe(*assignments):
    return small_recipe(
        *(f"train.epochs={EPOCHS}", "train.log_every=2", "train.checkpoint_seconds=0.5"),
        *("train.checkpoint_share=1", "train.keep_checkpoints=3", *assignments),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    return target, small_dataset(target, SLICES)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, dataset, ray_cluster):
    """Losses of a run of two workers that nothing happened to."""
    run, outputs = Run.begun(tmp_path_factory.mktemp("undisturbed"), recipe(), *dataset)
    launch.train(run.recipe, run.dataset, outputs, run.name, run.tracked)
    losses = run.losses()
    assert sorted(losses) == list(range(1, STEPS + 1))
    return losses


@pytest.mark.faults
@pytest.mark.slow
def test_killed_workers_and_a_truncated_checkpoint_leave_no_trace(tmp_path, dataset, undisturbed):
    """kill -9 of one worker; later the newest checkpoint is truncated and the other one killed."""
    run, outputs = Run.begun(tmp_path, recipe(), *dataset)
    folder, ledger = tmp_path / "runs" / run.name, tmp_path / "ledger"
    damaged = []

    def faults():
        wait_until(lambda: len(checkpoints(folder)) > 1)
        first = train_workers()
        kill(first[-1])
        before = wait_until(lambda: checkpoints(folder))[-1]
        wait_until(lambda: set(train_workers()).isdisjoint(first) and len(train_workers()) == 2)
        wait_until(lambda: checkpoints(folder)[-1:] > [before])
        damaged.append(checkpoints(folder)[-1])
        truncate(damaged[0])
        kill(train_workers()[0])

    with Meanwhile(faults):
        launch.train(run.recipe, run.dataset, outputs, run.name, run.tracked, str(ledger))
    epochs, starts = effective_history(ledger)
    assert starts == [2, 2, 2]
    assert epochs == {epoch: Counter(EVERY_SLICE) for epoch in range(EPOCHS)}
    assert run.losses() == undisturbed


@pytest.mark.faults
@pytest.mark.slow
def test_a_full_disk_ends_at_once_and_the_same_command_continues(tmp_path, dataset, undisturbed):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        run, outputs = Run.begun(tmp_path / "run", recipe(), *dataset, disk)
        ledger = tmp_path / "ledger"
        with pytest.raises(UserError, match="full") as caught:
            launch.train(run.recipe, run.dataset, outputs, run.name, run.tracked, str(ledger))
        assert "continues" in caught.value.remedy
        assert effective_history(ledger)[1] == [2]  # no restart, which would not have helped
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        launch.train(run.recipe, run.dataset, outputs, run.name, run.tracked, str(ledger))
        assert run.losses() == undisturbed
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
