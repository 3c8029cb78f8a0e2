"""Training on a real Ray Train with the default source: every slice once, and the losses of one process."""

from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
from records import small_dataset
from small import losses, small_loop, small_recipe
from small_tasks import write_small_task

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.training import launch
from mricore.training.checkpoint import read_info
from mricore.training.place import Home
from mricore.training.telemetry import history, start_run

SLICES = 75


@pytest.mark.servers
@pytest.mark.slow
def test_two_workers_on_ray_data_train_on_every_slice_exactly_once(tmp_path, ray_cluster):
    dataset = place(str(tmp_path / "dataset"))
    manifest = small_dataset(dataset, SLICES)
    recipe = small_recipe(
        *("data.source=ray", "train.log_every=5", "train.checkpoint_seconds=1000"),
        *("train.validate_steps=4", "train.keep_best=1"),
        *(f"train.validate_task={write_small_task(tmp_path / 'task', pool=8)}",),
        *(f"train.validate_data={tmp_path / 'task'}",),
    )
    name = launch.run_name(recipe, manifest)
    where = Home(place(str(tmp_path / "out")), f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracked = start_run(where, "test", name, {}, {})
    ledger = tmp_path / "ledger"
    shipped = launch.train(recipe, dataset, where.outputs, name, tracked, str(ledger))

    fed = [line.split("\t") for path in ledger.iterdir() for line in path.read_text().splitlines()]
    expected = {f"slice{number:06d}": 1 for number in range(SLICES)}
    for epoch in ("0", "1"):
        assert Counter(one for e, _, one in fed if e == epoch) == expected
    assert len(list(ledger.iterdir())) == 2

    alone = losses(small_loop(dataset, small_recipe()))
    rows = {int(row["step"]): row for row in history(tracked)}
    logged = {step: row["loss/total"] for step, row in rows.items()}
    assert logged == pytest.approx(alone, rel=1e-4)
    assert sorted(step for step, row in rows.items() if "validation/mean" in row) == [4, 8, 10]
    score = "validation/segmentation"
    judged = {step: row[score] for step, row in rows.items() if score in row}
    assert sorted(judged) == [4, 8, 10]
    assert read_info(Path(shipped.path)).step == max(judged, key=judged.get)


def steps_of(ledger):
    """(epoch, step) in the order in which a worker did them."""
    steps = [tuple(map(int, line.split("\t")[:2])) for line in ledger.read_text().splitlines()]
    return [step for step, _ in groupby(steps)]


@pytest.mark.servers
@pytest.mark.slow
def test_an_ill_run_of_two_workers_goes_back_to_one_checkpoint_and_then_pauses(tmp_path, ray_cluster):
    """Well for some steps, then ill beyond doubt, as the teacher's temperature falls to nothing."""
    dataset = place(str(tmp_path / "dataset"))
    manifest = small_dataset(dataset, SLICES)
    recipe = small_recipe(
        *("objective.teacher_temperature=1e-6", "objective.teacher_temperature_warmup_fraction=0.6"),
        *("train.log_every=1", "train.checkpoint_seconds=0.01", "train.epochs=3"),
        *("health.action=roll_back", "health.patience=2", "health.max_roll_backs=1"),
    )
    name = launch.run_name(recipe, manifest)
    where = Home(place(str(tmp_path / "out")), f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracked = start_run(where, "test", name, {}, {})
    ledger = tmp_path / "ledger"
    with pytest.raises(UserError, match="paused at step"):
        launch.train(recipe, dataset, where.outputs, name, tracked, str(ledger))

    one, two = (steps_of(path) for path in ledger.iterdir())
    assert one == two  # both workers went back to the same step
    assert len(one) > len(set(one)) > 2  # some steps were done again, and not from the beginning
    assert one.count((0, 0)) == 1
