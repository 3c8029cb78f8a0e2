"""eval/report.py: from the folders of evaluations to a page, figures and tables."""

import csv
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from evaluation_rows import SUMMARY, units, write_results

from mricore.data.storage import place
from mricore.errors import EXIT_USER_ERROR, UserError
from mricore.report.evaluation_results import read_results
from mricore.workflows.entry import run
from mricore.workflows.evaluation_report import inputs_of, report_evaluation

ROOT = Path(__file__).parents[2]


def few_units(seed=0, encoders=("random", "sam")):
    return [one for one in units(seed, draws=2) if one[0]["encoder"] in encoders]


def test_the_script_writes_page_figures_and_tables(tmp_path, capsys):
    rows = write_results(tmp_path / "out", few_units(), SUMMARY)
    spec = importlib.util.spec_from_file_location("eval_report", ROOT / "eval/report.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    figures = tmp_path / "figures"
    assert run(script.main, [str(tmp_path / "out"), "--title", "Mine", "--figures", str(figures)]) == 0
    assert "report.html" in capsys.readouterr().out
    page = (tmp_path / "out/report.html").read_text()
    assert "<h1>Mine</h1>" in page
    assert re.search(r"sam <i[^>]*>baseline", page)
    table = list(csv.DictReader((figures / "summary.csv").open()))
    chosen = [
        row for row in table if (row["task"], row["encoder"], row["metric"]) == ("spine", "sam", "dice_3d")
    ]
    (found,) = [row for row in chosen if row["label"] == "mean"]
    values = [
        row.value
        for row in rows
        if (row.task, row.encoder, row.metric, row.label) == ("spine", "sam", "dice_3d", "mean")
    ]
    assert float(found["mean"]) == pytest.approx(np.mean(values))
    assert float(found["low"]) < float(found["mean"]) < float(found["high"])
    differences = list(csv.DictReader((figures / "differences.csv").open()))
    assert {row["encoder"] for row in differences} == {"random"}
    assert (figures / "few_shot_strict_radar.pdf").stat().st_size > 1000


def test_folders_are_joined(tmp_path):
    write_results(tmp_path / "a", few_units(0, ["random"]))
    write_results(tmp_path / "b", few_units(1, ["sam"]))
    found = read_results([place(str(tmp_path / name)) for name in "ab"])
    assert {row.encoder for row in found.rows} == {"random", "sam"}
    alone = read_results([place(str(tmp_path / "a"))])
    assert len(alone.rows) < len(found.rows)
    twice = read_results([place(str(tmp_path / "a"))] * 2)
    assert twice.rows == alone.rows


def test_folders_that_contradict_each_other_are_refused(tmp_path):
    write_results(tmp_path / "a", few_units(0))
    write_results(tmp_path / "b", few_units(1))
    with pytest.raises(UserError, match="another few_shot"):
        read_results([place(str(tmp_path / name)) for name in "ab"])


def test_an_evaluation_that_was_stopped_is_read_unit_by_unit(tmp_path):
    rows = write_results(tmp_path, few_units(), table=False)
    (tmp_path / "results" / f"{'f' * 64}.csv").write_bytes(b"a unit that was being written")
    found = read_results([place(str(tmp_path))])
    assert found.rows == sorted(rows)
    assert len(found.units) == len(few_units())


def test_units_of_earlier_settings_do_not_count(tmp_path):
    rows = write_results(tmp_path, few_units(), SUMMARY)
    stale = few_units(7)[0]
    write_results(tmp_path / "other", [stale])
    for path in (tmp_path / "other/results").iterdir():
        path.rename(tmp_path / "results" / path.name.replace("0" * 64, "e" * 64))
    found = read_results([place(str(tmp_path))])
    assert found.rows == sorted(rows)
    assert len(found.units) == len(few_units())


def test_the_baseline_is_told_or_without_pretraining(tmp_path):
    write_results(tmp_path, few_units(), SUMMARY)
    told = read_results([place(str(tmp_path))])
    assert inputs_of(told, None, "").baseline == "sam"
    assert inputs_of(told, "random", "").baseline == "random"
    (tmp_path / "evaluation.json").unlink()
    assert inputs_of(read_results([place(str(tmp_path))]), None, "").baseline == "random"


def test_epochs_that_units_tell_make_a_series(tmp_path):
    made = [
        ({**document, "epoch": 2 if document["encoder"] == "sam" else 8, "run": "mine"}, rows, pictures)
        for document, rows, pictures in few_units()
    ]
    write_results(tmp_path, made)
    checkpoints = inputs_of(read_results([place(str(tmp_path))]), None, "").checkpoints
    assert {name: (one.run, one.at) for name, one in checkpoints.items()} == {
        "sam": ("mine", 2),
        "random": ("mine", 8),
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: None, "no encoder is named"),
        (lambda folder: (folder / "measurements.csv").write_bytes(b"a,b\n1,2\n"), "damaged"),
        (lambda folder: next((folder / "results").glob("*.json")).write_text("{"), "damaged"),
        (lambda folder: next((folder / "pictures").iterdir()).write_bytes(b"x"), "holds no pictures"),
    ],
)
def test_a_users_mistake_is_one_line(tmp_path, capsys, change, told):
    write_results(tmp_path, few_units())
    change(tmp_path)
    assert run(lambda _: report_evaluation([str(tmp_path)], baseline="nobody")) == EXIT_USER_ERROR
    assert told in capsys.readouterr().err


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="no results"):
        report_evaluation([str(tmp_path)])
    with pytest.raises(UserError, match="no results"):
        report_evaluation([str(tmp_path / "absent")])


def test_a_page_must_be_called_one(tmp_path):
    write_results(tmp_path, few_units(0, ["sam"])[:1])
    with pytest.raises(UserError, match="no page"):
        report_evaluation([str(tmp_path)], out=str(tmp_path / "page"))
