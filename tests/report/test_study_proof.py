"""The page of a study with untrained arms that was judged on test patients by several protocols."""

import csv
import io
import re
from dataclasses import replace

import proof_rows
import pytest
from html_pages import parsed

from mricore.evaluation.comparison import ALL_TASKS, compare
from mricore.evaluation.statistics import Interval
from mricore.report.charts import MINUS
from mricore.report.study import StudyInputs, StudyPage
from mricore.report.study_charts import Point, epoch_curves
from mricore.report.study_claims import EPOCHS, findings
from mricore.report.study_numbers import Judgement, answers, judge_title, main_answers
from mricore.report.study_tables import failed_arms, lineages
from mricore.report.study_texts import commands
from mricore.report.study_trainings import cost_lines, loss_figures, training_lines

PRETRAINING, RANDOM, LENGTH = proof_rows.QUESTIONS


@pytest.fixture(scope="module")
def inputs():
    return proof_rows.inputs()


@pytest.fixture(scope="module")
def study_page(inputs):
    return StudyPage(inputs)


@pytest.fixture(scope="module")
def page(study_page):
    return study_page.html()


def judgement_of(inputs, protocol):
    return next(one for one in inputs.judgements if one.how.protocol == protocol)


def expected(inputs, protocol, question, metric):
    """What ``compare`` says over all tasks of the arms of a question, by arm."""
    rows = [
        row
        for row in judgement_of(inputs, protocol).rows
        if row.encoder in (question.reference, *question.arms) and row.metric == metric
    ]
    found = compare(rows, question.reference).differences
    last = ALL_TASKS if len({row.task for row in rows}) > 1 else rows[0].task
    return {one.encoder: one for one in found if one.question.task == last}


def told(interval):
    value, low, high = (f"{100 * one:+.1f}" for one in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]".replace("-", MINUS)


def column(page, protocol):
    """(question, arm) -> cell of the matrix in the column of a protocol."""
    place = [one.judged for one in page.matrix.columns].index(protocol)
    return {
        (group.question.name, arm): cells[place] for group in page.matrix.groups for arm, cells in group.lines
    }


def test_the_page_has_a_column_for_each_way_of_judging_and_is_whole(page, inputs):
    found = parsed(page)
    for how in inputs.result.evaluations:
        assert judge_title(how) in found.words
    for words in (
        "Judged on test patients of: abdomen, hippocampus, kidney, vertebrae:any",
        "patch probe, linear 3D DSC",
        "zero-shot, paper 2D DSC, best cluster, mean over k=4 to 8",
        "5 protocols",
        "not trained",
        "Arms, questions and ways of judging were fixed in a file before",
        "p is corrected over the arms and tasks of one question in one metric of one way of judging",
    ):
        assert words in found.words
    assert "there for choices" not in found.words
    assert not re.search(r"somebody|secret|/home", page)


@pytest.mark.parametrize(
    ("protocol", "title", "metric"),
    [
        ("few_shot", "few-shot, cpu", "dice_3d"),
        ("patch_probe", "patch probe, linear", "dice_3d"),
        ("knn", "k-NN, strict", "accuracy"),
    ],
)
def test_the_matrix_has_the_differences_of_each_protocol(study_page, inputs, protocol, title, metric):
    cells = column(study_page, title)
    judged = {row.encoder for row in judgement_of(inputs, protocol).rows}
    for question in (PRETRAINING, LENGTH):
        known = expected(inputs, protocol, question, metric)
        assert known
        for arm in question.arms:
            cell = cells[question.name, arm]
            assert cell.difference == (told(known[arm].interval) if arm in judged else "")


def test_an_arm_that_a_protocol_was_not_to_judge_is_neither_compared_nor_missed(study_page, inputs):
    cells = column(study_page, "few-shot, cpu")
    assert cells["pretraining", "lr 4e-3"] == cells["random", "from random"]
    assert cells["pretraining", "lr 4e-3"].verdict == ""
    everything = {one.how.folder: set(proof_rows.ARMS) for one in inputs.judgements}
    few = {"evaluations/few_shot-cpu": {"SAM untrained", "4 epochs", "MAE"}}
    assert failed_arms(inputs.result, everything | few) == []
    without = {"evaluations/few_shot-cpu": {"SAM untrained", "4 epochs"}}
    ((arm, state, why),) = failed_arms(inputs.result, everything | without)
    assert (arm, state) == ("MAE", "not judged")
    assert why.endswith("in: few-shot, cpu")


def test_p_is_corrected_for_the_arms_and_tasks_of_a_question_in_one_protocol(inputs):
    for answer in main_answers(answers(inputs.result, PRETRAINING, inputs.judgements)):
        known = (
            expected(inputs, answer.how.protocol, PRETRAINING, answer.metric) if not answer.clusters else {}
        )
        for arm, one in known.items():
            assert answer.difference(answer.groups[-1], arm).corrected == one.corrected


def test_zero_shot_is_the_mean_over_numbers_of_clusters_that_all_arms_have(inputs):
    how, rows = (getattr(judgement_of(inputs, "zero_shot"), name) for name in ("how", "rows"))
    more = [
        replace(row, mode="k=16", value=1.0) for row in rows if row.encoder == "MAE" and row.mode == "k=8"
    ]
    (answer,) = answers(inputs.result, PRETRAINING, [Judgement(how, [*rows, *more])])
    assert answer.clusters == (4, 8)
    values = [row.value for row in rows if (row.task, row.encoder) == ("kidney", "MAE")]
    assert answer.number("kidney", "MAE").interval.value == pytest.approx(sum(values) / len(values))
    assert answer.number("kidney", "MAE").patients == 12


def test_raw_pixels_that_zero_shot_judges_beside_the_arms_are_in_no_answer(inputs):
    how, rows = (getattr(judgement_of(inputs, "zero_shot"), name) for name in ("how", "rows"))
    pixels = [replace(row, encoder="raw pixels", mode="k=2") for row in rows if row.encoder == "MAE"]
    before, after = (
        answers(inputs.result, PRETRAINING, [Judgement(how, some)])[0] for some in (rows, [*rows, *pixels])
    )
    assert before.number("kidney", "MAE") == after.number("kidney", "MAE")
    assert after.clusters == (4, 8)


def test_the_csv_names_protocol_and_mode_of_each_line(study_page):
    lines = list(csv.DictReader(io.StringIO(study_page.csv().decode())))
    named = {(line["protocol"], line["mode"]) for line in lines}
    assert named == {(how.protocol, how.mode) for how in proof_rows.JUDGES}
    few = [line for line in lines if line["protocol"] == "few_shot"]
    assert {line["arm"] for line in few} == {"SAM untrained", "4 epochs", "MAE"}


def test_untrained_arms_are_no_trainings_and_their_lineage_says_so(inputs):
    result, histories, recipes = inputs.result, inputs.histories, inputs.recipes
    labels = [line.label for line in training_lines(result, histories, recipes)]
    assert labels == ["1 epoch to 8 epochs, 4 arms", "from random", "MAE", "lr 4e-3"]
    assert [line.label for line in cost_lines(result)] == labels
    alts = " ".join(drawing.alt for _, drawing in loss_figures(result, histories, recipes))
    assert "MAE from" in alts
    assert "untrained" not in alts
    runs = {
        one.arm: (one.run, one.mlflow_run, one.checkpoint, one.epoch) for one in lineages(result, recipes)
    }
    assert {runs[name] for name in proof_rows.UNTRAINED} == {("not trained", "", "", "0")}
    assert runs["MAE"][0].startswith("vitb16_mri-")


def test_an_untrained_arm_that_waits_is_told_to_wait_for_its_encoder(inputs):
    arms = tuple(
        replace(arm, state="waiting", encoder="") if arm.name == "random untrained" else arm
        for arm in inputs.result.arms
    )
    found = failed_arms(
        replace(inputs.result, arms=arms), {one.folder: set(proof_rows.ARMS) for one in proof_rows.JUDGES}
    )
    assert found == [("random untrained", "no encoder yet", "the same command makes it")]


def test_a_curve_begins_before_training_a_doubling_before_its_first_epoch(study_page):
    interval = Interval(0.5, 0.4, 0.6)
    epochs = {"none": 0, "one": 2, "two": 4}
    panels = {"kidney": dict.fromkeys(epochs, Point(interval))}
    axes = epoch_curves("a", "b", "c", panels, epochs, {"kidney": "none"}).figure.axes[0]
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == [1, 2, 4]
    labels = [axes.xaxis.get_major_formatter()(place, None) for place in (1, 2, 4)]
    assert labels == ["0", "2", "4"]
    assert "50.0 untrained" in [text.get_text() for text in axes.texts]
    figures = [view.figure for one in study_page.sections if one.question == LENGTH for view in one.views]
    assert all("SAM untrained" in one.alt for one in figures)


def test_where_no_training_helps_the_best_is_before_training(inputs):
    scores = {arm: 0.7 if arm == "SAM untrained" else 0.5 for arm in proof_rows.ARMS}
    result = replace(proof_rows.only(inputs.result, "knn"), questions=(LENGTH,))
    page = StudyPage(StudyInputs(result, proof_rows.judgements(result, scores=scores)))
    (group,) = page.matrix.groups
    assert group.highest == ["before training"]
    assert "highest before training (" in page.sections[0].views[0].best[0]


def test_claims_of_the_paper_are_about_trained_arms_and_told_for_each_protocol(inputs):
    main = [
        one
        for asked in proof_rows.QUESTIONS
        for one in main_answers(answers(inputs.result, asked, inputs.judgements))
    ]
    found = findings(inputs.result, inputs.recipes, main)
    assert {one.says for one in found} == {EPOCHS}
    ways = [judge_title(how) for how in proof_rows.JUDGES if how.protocol != "few_shot"]
    assert [one.judged for one in found] == ways


def test_commands_of_a_study_that_its_file_says_how_to_judge_name_no_mode_and_no_test_part(inputs):
    (_, again), (_, reports) = commands(inputs.result)
    assert "--study" in again
    assert "--task vertebrae:any=ROOT" in again
    assert "--mode" not in again
    for how in proof_rows.JUDGES:
        assert f"STUDY/{how.folder}" in reports
    (_, fewer), *_ = commands(replace(inputs.result, judging=("--draws", "3")))
    assert "--draws 3" in fewer


def test_failed_units_and_settings_are_told_for_each_protocol(inputs):
    result = replace(proof_rows.only(inputs.result, "knn", "zero_shot"), questions=(RANDOM,))
    summaries = [
        {"protocol": how.protocol, "mode": how.mode, "failed": ["kidney: MAE failed"], "seed": 7}
        for how in result.evaluations
    ]
    judged = [
        replace(one, summary=summary)
        for one, summary in zip(proof_rows.judgements(result), summaries, strict=True)
    ]
    words = parsed(StudyPage(StudyInputs(result, judged)).html()).words
    assert "k-NN, strict: kidney: MAE failed" in words
    assert "zero-shot, paper: kidney: MAE failed" in words
    assert "Settings and digests: knn, strict" in words
    assert "for trained arms and not for untrained ones" in words


def test_the_text_for_a_terminal_has_a_block_for_each_question_and_protocol(study_page, inputs):
    text = study_page.text()
    assert text.count("Does training help: ") == 5
    assert text.count("And from random weights: ") == 4
    known = expected(inputs, "patch_probe", PRETRAINING, "dice_3d")["MAE"]
    line = f"MAE - SAM untrained {known.interval.value:+.3f} [{known.interval.low:+.3f}, "
    assert line in re.sub(r" +", " ", text)
    assert "zero_shot (paper), dice_2d_best_cluster, kidney" in text


def test_the_text_says_why_nothing_is_compared(inputs):
    result = replace(proof_rows.only(inputs.result, "knn"), questions=(RANDOM,))
    (judged,) = proof_rows.judgements(result)
    rows = [row for row in judged.rows if row.encoder == "from random"]
    page = StudyPage(StudyInputs(result, [replace(judged, rows=rows)]))
    assert "random untrained, which the others are compared with, was not judged" in page.text()
    assert StudyPage(StudyInputs(result)).text() == "And from random weights: not judged"
