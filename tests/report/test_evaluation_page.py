"""The page of an evaluation: its numbers are those of the rows, it is whole, harmless and self-contained."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
from evaluation_rows import ENCODERS, SUMMARY, TASKS, few_shot, units, write_results
from html_pages import parsed

from mricore.data.storage import place
from mricore.evaluation.comparison import compare
from mricore.report.charts import MINUS
from mricore.report.evaluation import Evaluation, EvaluationInputs
from mricore.report.evaluation_results import Results, read_results
from mricore.report.paper_numbers import TABLES

BAD = "<script>alert('x')</script>\"'$\\frac{$ </style>& \N{CJK UNIFIED IDEOGRAPH-9AA8}"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    write_results(folder, units(), SUMMARY)
    return read_results([place(str(folder))])


@pytest.fixture(scope="module")
def evaluation(results):
    return Evaluation(EvaluationInputs("Some encoders", results, "sam"))


@pytest.fixture(scope="module")
def page(evaluation):
    return evaluation.page()


@pytest.fixture(scope="module")
def few(results):
    """The rows of one task in one draw."""
    chosen = [one for one in results.rows if (one.protocol, one.task, one.draw) == ("few_shot", "spine", 0)]
    return Results(chosen, [], [], [])


def cells_of(page, task):
    """The score cells of a task's table in the block of few-shot segmentation, by encoder."""
    section = re.search(rf'<section class="task">\s*<h3>{task}</h3>.*?</section>', page, re.DOTALL).group()
    table = section[: section.index("</table>")]
    found = {}
    for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)[1:]:
        name = re.search(r"</span>([^<]*)</th>", row).group(1)
        found[name] = re.findall(r'<td class="n">(?:<b>)?([^<]*)', row)
    return found


def test_a_full_page_has_every_part_and_loads_nothing(page):
    found = parsed(page)
    for words in (
        "Few-shot segmentation, strict",
        "Linear probe, strict",
        "Zero-shot clusters",
        "Mean over the tasks",
        "Differences to sam",
        "Over the checkpoints of a run",
        "What was taken for what",
        "How adaptation went",
        "On the slice",
        "Clusters on the slice",
        "false negative",
        "baseline",
        "0.1.0+abc",
        "settings.few_shot.lr",
        "of 40 slices none is in the pretraining data",
        "failed: few_shot of sam on knee, draw 2",
        "What to keep in mind",
        "abdomen has only 5 patients",
    ):
        assert words in found.words
    assert "phantoms" not in found.words
    assert len(found.links) >= 5


def test_numbers_of_the_tables_are_those_of_the_rows(page, results):
    for task in TASKS:
        cells = cells_of(page, task)
        assert set(cells) == set(ENCODERS)
        for encoder, texts in cells.items():
            for text, metric in zip(texts, ("dice_2d", "dice_3d", "nsd_mm"), strict=True):
                values = [
                    row.value
                    for row in results.rows
                    if (row.task, row.encoder, row.metric, row.label) == (task, encoder, metric, "mean")
                ]
                value, low, high = (float(one) for one in re.findall(r"[\d.]+", text))
                assert value == pytest.approx(100 * np.mean(values), abs=0.051)
                assert low <= value <= high
                assert low < high


def test_no_mean_stands_without_an_interval(page):
    for table in re.findall(r'<table class="scores">.*?</table>', page, re.DOTALL):
        for text in re.findall(r'<td class="n">(?:<b>)?([^<]+)', table):
            assert re.fullmatch(r"[\d+\N{MINUS SIGN}.]+ \[[^\]]+\]|(&lt; )?[01]\.\d{3}", text), text


def test_the_papers_numbers_stand_beside_ours_where_the_dataset_is_the_same(page):
    words = parsed(page).words
    sam = TABLES["mmthigh"].methods["SAM"]
    assert f"paper {sam[1]}" in words
    assert "MRI-CORE not run here" in words
    assert words.count("Table A4") == 1
    assert "Table A5" not in words
    # its surface metric is in voxels, and ours here is in millimetres
    assert f"paper {sam[2]}" not in words


def test_whatever_is_missing_is_left_out(few):
    page = Evaluation(EvaluationInputs("Little", few, None)).page()
    words = parsed(page).words
    for absent in (
        "Linear probe",
        "Zero-shot",
        "Differences to",
        "On the slice",
        "Mean over",
        "Settings and digests",
        "SD ",
    ):
        assert absent not in words
    assert "one draw only" in words


def test_an_encoder_that_lacks_a_task_is_not_in_means_over_tasks(results):
    rows = [
        row
        for row in results.rows
        if row.protocol == "few_shot" and (row.encoder, row.task) != ("mine@epoch2", "spine")
    ]
    page = Evaluation(EvaluationInputs("Gap", Results(rows, [], [], []), "sam")).page()
    assert "so not in the figures over all of them: mine@epoch2." in parsed(page).words
    means = re.search(r'alt="(few_shot, mean over tasks[^"]*)"', page).group(1)
    assert "mine@epoch4" in means
    assert "mine@epoch2" not in means


def test_hostile_and_long_names_stay_text():
    rng = np.random.default_rng(0)
    rows = [
        replace(row, task=task, encoder=encoder, label="mean")
        for task in (BAD, "a" * 90, "b " * 40)
        for encoder in (BAD + "1", "c" * 90, "sam")
        for row in few_shot(rng, "spine", "sam", 0, ["x"])
        if row.label == "mean"
    ]
    evaluation = Evaluation(
        EvaluationInputs(
            BAD,
            Results(
                rows, [{"protocol": BAD, "settings": {BAD: BAD}, "leaks": {BAD: BAD}}], [{"code": BAD}], []
            ),
            "sam",
        )
    )
    parsed(evaluation.page())
    assert all(re.fullmatch(r"[A-Za-z0-9_]+\.(svg|pdf)", name) for name in evaluation.figures())


def test_draws_that_not_all_encoders_have_are_left_out_and_told(results):
    rows = [
        row
        for row in results.rows
        if (row.protocol, row.task) == ("few_shot", "spine") and (row.encoder != "sam" or row.draw < 2)
    ]
    page = Evaluation(EvaluationInputs("Stopped", Results(rows, [], [], []), "sam")).page()
    words = parsed(page).words
    assert "5 patients, 2 draws" in words
    assert "not judged on all tasks and draws: sam; what not all have is left out" in words


def test_differences_are_paired_and_corrected_as_compare_does_it(page, results):
    rows = [row for row in results.rows if row.protocol == "few_shot"]
    expected = compare(rows, "sam").differences
    for one in expected:
        if (one.question.task, one.question.metric) == ("abdomen", "dice_3d"):
            told = f"{100 * one.interval.value:+.1f} [".replace("-", MINUS)
            row = re.search(
                rf"<tr><td>abdomen</td><th[^>]*>{one.encoder}</th><td>sam</td>.*?</tr>", page
            ).group()
            cells = re.findall(r'<td class="n">([^<]*)', row)
            assert cells[2].startswith(told)
            assert cells[3] == ("&lt; 0.001" if one.corrected < 0.001 else f"{one.corrected:.3f}")


def test_one_patient_alone_has_no_interval_and_so_no_number(few):
    rows = [row for row in few.rows if row.patient == "p0"]
    page = Evaluation(EvaluationInputs("Alone", Results(rows, [], [], []), "sam")).page()
    parsed(page)
    assert not re.search(r'<td class="n">[^<]*\d', page)


def test_undefined_values_are_counted_and_left_out(few):
    rows = [
        replace(row, value=float("nan")) if row.patient == "p0" and row.metric == "dice_3d" else row
        for row in few.rows
    ]
    words = parsed(Evaluation(EvaluationInputs("Undefined", Results(rows, [], [], []), "sam")).page()).words
    assert "nan" not in words.lower().split()
    assert "1 pairs of patient and draw left out, as undefined with some encoder" in words


def test_the_same_results_give_the_same_bytes(few):
    inputs = EvaluationInputs("Twice", few, "sam")
    first, second = Evaluation(inputs), Evaluation(inputs)
    assert first.page() == second.page()
    assert first.figures() == second.figures()


def test_figures_are_svg_and_pdf_with_their_text(evaluation):
    files = evaluation.figures()
    names = {name.rpartition(".")[0] for name in files}
    assert {"few_shot_strict_radar", "few_shot_strict_mean", "few_shot_strict_differences"} <= names
    assert "linear_probe_strict_body_part_confusion" in names
    assert any(name.startswith("few_shot_strict_pictures_") for name in names)
    for name, content in files.items():
        assert content.startswith(b"<svg" if name.endswith("svg") else b"%PDF")
    assert b"abdomen" in files["few_shot_strict_radar.svg"]


def test_pictures_of_the_page_carry_words(page):
    found = parsed(page)
    alts = [image["alt"] for image in found.images]
    assert any(alt.startswith("few_shot, strict: 3D DSC by task: ") for alt in alts)
    assert "spine, slice 1, segmented by mine@epoch4" in alts
    # the last of three draws that end at 0.475, 0.575 and 0.675
    assert any(alt.startswith("Adaptation on spine") and "sam ends at 57.5" in alt for alt in alts)
    svgs = [image["src"] for image in found.images if "svg" in image["src"]]
    assert all(b"<svg" in base64.b64decode(source.partition(",")[2])[:100] for source in svgs)
