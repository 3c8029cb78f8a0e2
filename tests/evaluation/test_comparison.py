"""Comparisons of encoders: what is found, what is refused, and what is said of it."""

import csv
import io
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from mricore.errors import UserError
from mricore.evaluation.comparison import ALL_TASKS, ONE_DRAW, ONE_PATIENT, TWO_DRAWS, compare
from mricore.evaluation.comparison_text import COLUMNS, as_csv, as_text, designs
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.statistics import holm


def results(means, patients=8, draws=5, tasks=("liver",), slices=0, seed=0, noise=0.02):
    """Rows of encoders with true means; patients and draws have effects, draws partly one of the encoder."""
    rng = np.random.default_rng(seed)
    rows = []
    for task in tasks:
        owner = rng.normal(0, 0.05, patients)
        for encoder, mean in means.items():
            lesson = rng.normal(0, noise, draws)
            for draw in range(draws):
                for patient in range(patients):
                    value = mean + owner[patient] + lesson[draw] + rng.normal(0, noise)
                    shared = ("few_shot", task, "strict", encoder, draw, f"p{patient}")
                    rows.append(Measurement(*shared, f"c{patient}", "mean", "dice_3d", value))
                    rows += [
                        Measurement(
                            *shared, f"c{patient}/{index}", "mean", "dice_2d", value + rng.normal(0, 0.1)
                        )
                        for index in range(slices)
                    ]
    return rows


def only(found, **wanted):
    return [one for one in found if all(getattr(one, name) == value for name, value in wanted.items())]


def test_known_differences_are_found_with_their_signs():
    found = compare(results({"ours": 0.8, "random": 0.5, "sam": 0.7}, draws=8))
    pairs = {(one.encoder, one.against): one for one in found.differences}
    assert set(pairs) == {("ours", "random"), ("ours", "sam"), ("random", "sam")}
    for pair, true in ((("ours", "random"), 0.3), (("ours", "sam"), 0.1), (("random", "sam"), -0.2)):
        one = pairs[pair]
        assert one.interval.low < true < one.interval.high
        assert one.corrected < 0.01
        assert one.better.value == (true > 0)
    scores = {one.encoder: one.interval.value for one in found.scores}
    assert pairs["ours", "sam"].interval.value == pytest.approx(scores["ours"] - scores["sam"])


@pytest.mark.numerics
def test_where_nothing_differs_little_is_claimed():
    """Family-wise: in at most 5% of comparisons of three equal encoders, any corrected p is below 0.05."""
    alarms = 0
    for seed in range(60):
        rows = results({"a": 0.7, "b": 0.7, "c": 0.7}, 6, 4, seed=seed)
        alarms += any(one.corrected < 0.05 for one in compare(rows).differences)
    assert alarms <= 7  # 3 expected at most, standard error 1.7


def test_the_order_of_rows_changes_nothing():
    rows = results({"a": 0.7, "b": 0.72}, slices=3, tasks=("liver", "kidney"))
    shuffled = list(rows)
    random.Random(1).shuffle(shuffled)
    assert compare(rows) == compare(shuffled)
    assert compare(rows) != compare(rows, seed=1)


def test_a_baseline_is_compared_with_each_and_nothing_else():
    found = compare(results({"a": 0.7, "b": 0.72, "c": 0.75}), baseline="b")
    assert [(one.encoder, one.against) for one in found.differences] == [("a", "b"), ("c", "b")]
    assert [one.encoder for one in found.scores] == ["a", "b", "c"]


def test_p_is_corrected_for_all_differences_together():
    found = compare(results({"a": 0.7, "b": 0.72, "c": 0.75}, tasks=("liver", "kidney"), slices=2))
    assert len(found.differences) == 3 * 3 * 2  # pairs, tasks and their summary, metrics
    assert [one.corrected for one in found.differences] == holm([one.p for one in found.differences])


def test_a_summary_over_tasks_weighs_tasks_equally_and_shared_encoders_only():
    small = results({"a": 0.5, "b": 0.6, "c": 0.9}, 4, tasks=("liver",))
    large = results({"a": 0.7, "b": 0.8}, 20, tasks=("kidney",), seed=1)
    found = compare(small + large)
    by_task = {
        (one.question.task, one.encoder): one.interval.value for one in found.scores if one.encoder != "c"
    }
    for encoder in "ab":
        mean = (by_task["liver", encoder] + by_task["kidney", encoder]) / 2
        assert by_task[ALL_TASKS, encoder] == pytest.approx(mean)
    assert "c" not in {one.encoder for one in found.scores if one.question.task == ALL_TASKS}
    (summary,) = [one for one in found.differences if one.question.task == ALL_TASKS]
    assert summary.amount.patients == 24


def test_a_patients_slices_count_as_one_and_undefined_ones_not_at_all():
    rows = [
        Measurement(
            "few_shot", "t", "strict", "a", 0, patient, f"{patient}/{index}", "mean", "dice_2d", value
        )
        for patient, values in (("p", [1.0, math.nan, 0.5]), ("q", [0.1] * 9), ("r", [0.3]))
        for index, value in enumerate(values)
    ]
    (score,) = compare(rows).scores
    assert score.interval.value == pytest.approx((0.75 + 0.1 + 0.3) / 3)
    assert score.amount.patients == 3


def test_what_is_undefined_with_one_encoder_is_left_out_of_all_and_counted():
    rows = results({"a": 0.7, "b": 0.72}, patients=6, draws=4)
    lost = [
        replace(row, value=math.nan)
        if (row.encoder, row.patient, row.draw) in {("a", "p1", 2), ("b", "p3", 0)}
        else row
        for row in rows
    ]
    kept = [row for row in rows if (row.patient, row.draw) not in {("p1", 2), ("p3", 0)}]
    found, wanted = compare(lost), compare(kept)
    assert [one.interval for one in found.scores] == [one.interval for one in wanted.scores]
    assert {one.amount.left_out for one in found.scores} == {2}
    assert found.differences[0].amount.patients == 6
    assert "undefined for 2 pairs" in as_text(found)


def test_a_class_that_no_patient_has_gets_no_number():
    rows = [replace(row, value=math.nan) for row in results({"a": 0.7, "b": 0.72})]
    found = compare(rows)
    assert {one.interval for one in found.scores} == {None}
    assert found.differences[0].p is None
    assert "undefined for every patient" in as_text(found)


@pytest.mark.parametrize(
    ("patients", "draws", "note"), [(1, 5, ONE_PATIENT), (5, 1, ONE_DRAW), (5, 2, TWO_DRAWS), (5, 3, "")]
)
def test_few_patients_and_draws_are_told(patients, draws, note):
    found = compare(results({"a": 0.7, "b": 0.9}, patients, draws))
    assert {one.note for one in (*found.scores, *found.differences)} == {note}
    told = note in as_text(found)
    assert told
    for one in (*found.scores, *found.differences):
        assert (one.interval is None) == (patients == 1)
    assert (found.differences[0].components is None) == (min(patients, draws) == 1)


def test_two_results_of_one_encoder_are_refused():
    rows = results({"a": 0.7, "b": 0.72})
    with pytest.raises(UserError, match="'a' was measured twice in draw 0"):
        compare([*rows, replace(rows[0], value=0.1)])


@pytest.mark.parametrize(
    "changed",
    [
        lambda row: replace(row, draw=row.draw + 1),
        lambda row: replace(row, patient=f"other-{row.patient}"),
        lambda row: replace(row, case=f"{row.case}x"),
        lambda row: replace(row, draw=9) if row.draw == 0 and row.patient == "p0" else row,
    ],
)
def test_encoders_that_were_not_judged_on_the_same_are_refused(changed):
    rows = [changed(row) if row.encoder == "b" else row for row in results({"a": 0.7, "b": 0.72})]
    with pytest.raises(UserError, match="not judged on the same patients and draws"):
        compare(rows)


def test_results_that_cannot_be_compared_are_refused():
    rows = results({"a": 0.7})
    with pytest.raises(UserError, match="no nsd_mm"):
        compare(rows, metrics=["nsd_mm"])
    with pytest.raises(UserError, match="no encoder is named 'sam'"):
        compare(rows, baseline="sam")
    with pytest.raises(UserError, match="hold no"):
        compare([])


def test_classes_are_compared_when_asked_for():
    rows = [replace(row, label="spleen") for row in results({"a": 0.7, "b": 0.72})]
    with pytest.raises(UserError):
        compare(rows)
    assert {one.question.label for one in compare(rows, labels=["spleen"]).scores} == {"spleen"}
    both = compare([*rows, *results({"a": 0.7, "b": 0.72})], labels=None)
    assert {one.question.label for one in both.scores} == {"spleen", "mean"}


def test_a_task_of_one_patient_does_not_take_all_tasks_with_it():
    two = results({"a": 0.7, "b": 0.72}, tasks=("liver", "spleen"))
    found = compare([*two, *results({"a": 0.1, "b": 0.9}, patients=1, tasks=("kidney",))])
    alone, wanted = (
        [one for one in (*some.scores, *some.differences) if one.question.task == ALL_TASKS]
        for some in (found, compare(two))
    )
    assert {one.amount.without for one in alone} == {("kidney",)}
    assert [(one.interval, replace(one.amount, without=())) for one in alone] == [
        (one.interval, one.amount) for one in wanted
    ]
    assert alone[2].p == wanted[2].p
    assert {one.note for one in alone} == {"without kidney, which fewer than two patients judge"}
    assert (
        "all tasks: 16 patients x 5 draws (without kidney, which fewer than two patients judge)"
        in as_text(found)
    )
    of_kidney = [one for one in found.scores if one.question.task == "kidney"]
    assert {(one.interval, one.note) for one in of_kidney} == {(None, ONE_PATIENT)}


def test_all_tasks_are_nothing_where_fewer_than_two_have_patients():
    rows = [
        *results({"a": 0.7, "b": 0.72}, tasks=("liver",)),
        *results({"a": 0.1, "b": 0.9}, patients=1, tasks=("kidney",)),
    ]
    found = [one for one in compare(rows).scores if one.question.task == ALL_TASKS]
    assert {(one.interval, one.note) for one in found} == {(None, ONE_PATIENT)}


def test_the_text_tells_every_number_with_its_interval():
    text = as_text(compare(results({"ours": 0.8, "sam": 0.7}), baseline="sam"))
    first, ours, sam, pair = text.splitlines()[:4]
    assert first == "few_shot (strict), dice_3d, liver: 8 patients x 5 draws"
    for line, name in ((ours, "ours"), (sam, "sam"), (pair, "ours - sam")):
        assert line.startswith(f"  {name} ")
        assert line.count("[") == (2 if line == pair else 1)
    assert "p " in pair
    assert "better for" in pair


def test_the_csv_holds_what_the_text_tells():
    found = compare(results({"ours": 0.8, "sam": 0.7}, tasks=("liver", "kidney")))
    rows = list(csv.DictReader(io.StringIO(as_csv(found).decode())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["kind"] for row in rows] == ["score"] * 6 + ["difference"] * 3
    for row, one in zip(rows, (*found.scores, *found.differences), strict=True):
        assert float(row["value"]) == one.interval.value
        assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert float(rows[-1]["p_corrected"]) == found.differences[-1].corrected
    refused = list(csv.DictReader(io.StringIO(as_csv(compare(results({"a": 0.7}, patients=1))).decode())))
    assert (refused[0]["value"], refused[0]["note"]) == ("", ONE_PATIENT)


def test_designs_tell_how_many_draws_and_patients():
    lines = list(designs(compare(results({"a": 0.7, "b": 0.72}, draws=6)), 0.05, seed=0))
    assert "difference of 0.05 in 80% of studies" in lines[0]
    assert lines[1].endswith("a - b")
    assert "by draws:" in lines[2]
    assert "8 patients x" in lines[2]
    assert "by patients:" in lines[3]
    assert "6 draws" in lines[3]
    single = list(designs(compare(results({"a": 0.7, "b": 0.72}, draws=1)), 0.05, seed=0))
    assert "one draw does not tell" in single[1]


def test_a_task_that_nobody_judges_does_not_take_all_tasks_with_it():
    two = results({"a": 0.4, "b": 0.5}, tasks=("liver", "spleen"))
    undefined = [replace(row, value=float("nan")) for row in results({"a": 0.1, "b": 0.9}, tasks=("kidney",))]
    found, wanted = (only_of_all(compare(rows)) for rows in ([*two, *undefined], two))
    assert [one.interval for one in found] == [one.interval for one in wanted]
    assert {one.amount.without for one in found} == {("kidney",)}


def only_of_all(found):
    return [one for one in (*found.scores, *found.differences) if one.question.task == ALL_TASKS]
