"""eval/compare.py on the folders that evaluations write."""

import csv
import json

import pytest

from eval.compare import main
from mricore.evaluation.measurements import Measurement, to_csv
from mricore.workflows.entry import run


def rows_of(encoder, mean):
    return [
        Measurement(
            *("few_shot", "liver", "strict", encoder, draw, f"p{patient}", f"c{patient}", "mean", metric),
            mean + 0.01 * ((patient * 7 + draw * 3) % 5) + 0.002 * ((patient + len(encoder) * draw) % 3),
        )
        for draw in range(4)
        for patient in range(6)
        for metric in ("dice_3d", "nsd_mm")
    ]


@pytest.fixture
def folders(tmp_path):
    """Two evaluations, one encoder each."""
    for name, mean in (("sam", 0.6), ("ours", 0.8)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "measurements.csv").write_bytes(to_csv(rows_of(name, mean)))
    return tmp_path


def test_results_of_two_folders_are_compared_and_written(folders, capsys):
    arguments = [str(folders / "sam"), str(folders / "ours"), "--baseline", "sam", "--metric", "dice_3d"]
    assert run(main, arguments) == 0
    told = capsys.readouterr().out
    assert "ours - sam" in told
    assert "nsd_mm" not in told
    with (folders / "sam" / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["kind"], row["encoder"], row["against"]) for row in rows] == [
        ("score", "ours", ""),
        ("score", "sam", ""),
        ("difference", "ours", "sam"),
    ]
    assert 0.19 < float(rows[-1]["low"]) < float(rows[-1]["high"]) < 0.21
    assert run(main, arguments) == 0
    assert capsys.readouterr().out == told


def test_the_table_goes_where_it_is_wanted_and_tells_designs(folders, capsys):
    arguments = [
        str(folders / "sam"),
        str(folders / "ours"),
        "--out",
        str(folders / "new"),
        "--detect",
        "0.1",
    ]
    assert run(main, arguments) == 0
    assert (folders / "new" / "comparison.csv").is_file()
    assert not (folders / "sam" / "comparison.csv").exists()
    assert "To see a difference of 0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sam", "--baseline", "nobody"], "no encoder is named 'nobody'"),
        (["sam", "--metric", "accuracy"], "no accuracy"),
        (["sam", "--metric", "dice_3d", "--metric", "dice_2d"], "no dice_2d"),
        (["sam", "--detect", "0"], "difference of 0"),
        (["absent"], "no results"),
    ],
)
def test_mistakes_are_told_in_one_line(folders, capsys, monkeypatch, arguments, told):
    monkeypatch.chdir(folders)
    assert run(main, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert not list(folders.rglob("comparison.csv"))


def test_encoders_with_other_draws_are_refused(folders, capsys):
    fewer = [row for row in rows_of("ours", 0.8) if row.draw < 3]
    (folders / "ours" / "measurements.csv").write_bytes(to_csv(fewer))
    assert run(main, [str(folders / "sam"), str(folders / "ours")]) == 2
    assert "'ours' lacks 6 of 24 measurements" in capsys.readouterr().err


def with_unit(folder, encoder, **identity):
    """A unit as evaluations leave it beside the table."""
    (folder / "results").mkdir()
    known = {"data": "d", "seed": 0, "part": "test", "version": 1, "encoder_digest": encoder}
    unit = {"protocol": "few_shot", "task": "liver", "draw": 0, "encoder": encoder}
    content = json.dumps(unit | {"identity": known | identity})
    (folder / "results" / f"{encoder}.json").write_text(content)
    (folder / "results" / f"{encoder}.csv").write_bytes(to_csv(rows_of(encoder, 0.5)))


@pytest.mark.parametrize("other", [{}, {"seed": 1}, {"data": "e"}, {"version": 2}])
def test_draws_of_another_seed_or_of_other_data_do_not_pass_as_the_same(folders, capsys, other):
    """Their numbers, patients and cases are the same words."""
    with_unit(folders / "sam", "sam")
    with_unit(folders / "ours", "ours", **other)
    status = run(main, [str(folders / "sam"), str(folders / "ours"), "--metric", "dice_3d"])
    if not other:
        assert status == 0
        return
    assert status == 2
    assert f"other {next(iter(other))}" in capsys.readouterr().err
