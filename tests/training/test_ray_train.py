"""Training on a real Ray Train with the default source: every slice once, and the losses of one process."""

from collections import Counter

import pytest
from records import small_dataset
from small import losses, small_loop, small_recipe

from mricore.data.storage import place
from mricore.training import launch
from mricore.training.place import Home
from mricore.training.telemetry import history, start_run

SLICES = 75


@pytest.mark.servers
def test_two_workers_on_ray_data_train_on_every_slice_exactly_once(tmp_path, ray_cluster):
    dataset = place(str(tmp_path / "dataset"))
    manifest = small_dataset(dataset, SLICES)
    recipe = small_recipe("data.source=ray", "train.log_every=5", "train.checkpoint_seconds=1000")
    name = launch.run_name(recipe, manifest)
    where = Home(place(str(tmp_path / "out")), f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracked = start_run(where, "test", name, {}, {})
    ledger = tmp_path / "ledger"
    launch.train(recipe, dataset, where.outputs, name, tracked, str(ledger))

    fed = [line.split("\t") for path in ledger.iterdir() for line in path.read_text().splitlines()]
    expected = {f"slice{number:06d}": 1 for number in range(SLICES)}
    for epoch in ("0", "1"):
        assert Counter(one for e, _, one in fed if e == epoch) == expected
    assert len(list(ledger.iterdir())) == 2

    alone = losses(small_loop(dataset, small_recipe()))
    logged = {int(row["step"]): row["loss/total"] for row in history(tracked)}
    assert logged == pytest.approx(alone, rel=1e-4)
