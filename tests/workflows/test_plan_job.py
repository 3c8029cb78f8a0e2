"""The job that foretells a run: what it prints and refuses, and how near it comes to a real run."""

import json
import threading
import time
from pathlib import Path

import pytest
from records import small_dataset
from small import SMALL, small_recipe

from jobs.plan import main
from mricore.data.storage import place
from mricore.training import launch
from mricore.training.place import Home
from mricore.training.telemetry import history, start_run
from mricore.workflows.entry import run
from mricore.workflows.plan import PlanRequest, plan
from mricore.workflows.plan_text import amount, span, table

ROOT = Path(__file__).parents[2]
SETTINGS = [part for one in SMALL for part in ("--set", one)]


def test_a_plan_is_a_table_what_was_measured_and_what_is_assumed(tmp_path, capsys):
    dataset, document = tmp_path / "dataset", tmp_path / "plan.json"
    manifest = small_dataset(place(str(dataset)), 75)
    asked = ["tiny", "--data", str(dataset), "--gpus", "1,2", "--seconds", "2", "--json", str(document)]
    assert run(main, [*asked, *SETTINGS]) == 0
    said = capsys.readouterr().out
    assert "plan: tiny, 75 slices, 2 epochs of 5 steps of 15 slices" in said
    assert "slices/s for the readers of a worker" in said
    for name in ("scaling:", "communication:", "start-up:", "checkpoints:", "data:", "machines:"):
        assert f"  {name}" in said
    found = json.loads(document.read_text())
    assert [one["workers"] for one in found["forecasts"]] == [1, 2]
    stored = sum(shard.bytes for shard in manifest.shards)
    assert found["forecasts"][0]["read_bytes"] == pytest.approx(
        2 * stored * found["reading"]["amplification"]
    )
    alone, two = (one["memory"] for one in found["forecasts"])
    assert alone["total"] == pytest.approx(sum(alone.values()) - alone["total"])
    assert two["activations"] <= alone["activations"]
    assert {"recipe", "measured", "assumptions"} <= set(found)
    assert {path.name for path in tmp_path.iterdir()} == {"dataset", "plan.json"}


def test_without_a_dataset_the_speed_of_the_data_is_said_not_to_be_known(capsys):
    assert run(main, ["tiny", "--slices", "1000000", "--seconds", "2", *SETTINGS]) == 0
    said = capsys.readouterr().out
    assert "1,000,000 slices" in said
    assert "speed of the data: not measured" in said
    assert "noise of 256 x 256 px" in said
    assert [line.split()[0] for line in said.splitlines()[3:7]] == ["workers", "1", "2", "4"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["huge", "--slices", "9"], "tiny"),
        (["tiny"], "--slices N"),
        (["tiny", "--slices", "100", "--set", "train.batch=3"], "train.batch_size"),
        (["tiny", "--slices", "100", "--gpus", "3"], "data.lanes=4"),
        (["tiny", "--slices", "100", "--gpus", "two"], "no list of numbers"),
        (["tiny", "--slices", "3"], "fewer than data.lanes"),
        (["tiny", "--slices", "100", "--seconds", "0"], "--seconds"),
        (["tiny", "--slices", "100", "--bandwidth", "-1"], "--bandwidth"),
        (["tiny", "--data", "nowhere"], "nothing found"),
        (["tiny", "--data", "dicom"], "jobs/curate.py"),
        (["tiny", "--slices", "100", "--json", "no/such/folder.json"], "no folder for"),
        (["vitb16_mri", "--slices", "100", "--set", "train.gpu=true"], "train.gpu=false"),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom/one.dcm").write_bytes(b"not read")
    assert run(main, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 2  # problem and remedy
    assert told in error


@pytest.mark.parametrize(
    ("size", "written"), [(0, "0 B"), (999, "999 B"), (999.9, "1 kB"), (1.5e9, "1.5 GB"), (3e18, "3e+03 PB")]
)
def test_bytes_are_written_as_people_do(size, written):
    assert amount(size) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.4166, "0.417 s"), (59.94, "59.9 s"), (185, "3 min 5 s"), (36e5, "1,000 h")],
)
def test_spans_are_neither_too_fine_nor_too_coarse(seconds, written):
    assert span(seconds) == written


def test_a_table_is_aligned_to_the_right():
    assert table([["a", "bbb"], ["cc", "d"]]) == [" a  bbb", "cc    d"]


@pytest.mark.slow
@pytest.mark.servers
def test_a_real_run_takes_about_the_time_that_was_foretold(tmp_path, ray_cluster):
    """Measured while the run goes on, as other programs then slow both alike."""
    assignments = (*SMALL, "data.source=ray", "model.dim=96", "model.depth=4", "augment.global_size=96")
    assignments += ("augment.local_size=48", "train.batch_size=32", "train.workers=1", "train.log_every=4")
    dataset = place(str(tmp_path / "dataset"))
    manifest = small_dataset(dataset, 960)
    recipe = small_recipe(*assignments)
    name = launch.run_name(recipe, manifest)
    where = Home(place(str(tmp_path / "out")), f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracked = start_run(where, "test", name, {}, {})
    found = []

    def foretell():
        while not history(tracked):  # until it steps
            time.sleep(0.5)
        found.append(plan(PlanRequest("tiny", assignments, dataset.uri, workers="1", seconds=12)))

    other = threading.Thread(target=foretell, daemon=True)
    other.start()
    launch.train(recipe, dataset, where.outputs, name, tracked)
    other.join(timeout=120)

    rows = history(tracked)
    told = found[0].forecasts[0]
    assert len(rows) == found[0].workload.steps
    assert told.training_s == pytest.approx(time_of(rows), rel=0.25)


def time_of(rows):
    """Seconds of the whole loop: each report tells the mean per step since the one before."""
    total, last = 0.0, 0.0
    for row in rows:
        if "time/step_s" in row:
            within = "time/communication_s"  # of the others
            kinds = [value for name, value in row.items() if name.startswith("time/") and name != within]
            total += sum(kinds) * (row["step"] - last)
            last = row["step"]
    return total
