"""How runs are named and remembered, and what a new process makes up for."""

import json

import pytest
from records import small_dataset
from small import small_recipe

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.training import launch, telemetry
from mricore.training.launch import RunRecord
from mricore.training.place import Home


def test_a_run_is_named_by_what_is_learned_and_not_by_where(tmp_path):
    manifest = small_dataset(place(str(tmp_path / "a")), 30)
    other = small_dataset(place(str(tmp_path / "b")), 30, seed=1)
    name = launch.run_name(small_recipe(), manifest)
    for where in ("train.workers=1", "train.checkpoint_seconds=9", "data.source=ray", "train.log_every=3"):
        assert launch.run_name(small_recipe(where), manifest) == name
    for what in ("seed=1", "optimizer.lr=1e-4", "data.normalization=volume", "train.batch_size=32"):
        assert launch.run_name(small_recipe(what), manifest) != name
    assert launch.run_name(small_recipe(), other) != name
    assert launch.run_name(small_recipe(), manifest, 2) == f"{name}-2"


def test_a_record_returns_and_a_damaged_one_is_told(tmp_path):
    runs = place(str(tmp_path))
    assert launch.read_record(runs, "r") is None
    record = RunRecord("r", "id", checkpoint="c")
    launch.write_record(runs, record)
    assert launch.read_record(runs, "r") == record
    for damage in (b"{", b'{"name": "r", "newer": 1}', b"[]"):
        runs.write_bytes("r/run.json", damage)
        with pytest.raises(UserError, match="damaged"):
            launch.read_record(runs, "r")


def test_what_a_killed_controller_did_not_log_is_logged_by_the_next_process(tmp_path):
    """Ray Train commits a checkpoint before the controller's callbacks run."""
    where = Home(place(str(tmp_path / "out")), f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracked = telemetry.start_run(where, "test", "r", {}, {})
    run = place(str(tmp_path / "out" / "r"))
    launch._log_missing(tracked, run)  # nothing there yet
    rows = [{"step": float(step), "loss/total": step / 2} for step in (1, 2, 3)]
    telemetry.log_rows(tracked, rows[:2])
    run.write_bytes("checkpoint_a/state.json", json.dumps({"rows": rows}).encode())
    run.write_bytes("checkpoint_b/state.json", b"{")
    for _ in range(2):
        launch._log_missing(tracked, run)
    logged = tracked.client.get_metric_history(tracked.run_id, "loss/total")
    assert sorted((metric.step, metric.value) for metric in logged) == [(1, 0.5), (2, 1.0), (3, 1.5)]
