"""The page of a study: its numbers are those of the comparison; it is whole, harmless and self-contained."""

import csv
import io
import re
from dataclasses import replace

import pytest
import study_rows
from html_pages import parsed

from mricore.evaluation.comparison import ALL_TASKS, Difference, compare
from mricore.evaluation.statistics import Interval
from mricore.report.charts import MINUS
from mricore.report.study import StudyInputs, StudyPage
from mricore.report.study_claims import AGREES, DISAGREES, OPEN, findings
from mricore.report.study_numbers import answers, beyond_noise
from mricore.report.study_texts import commands
from mricore.study_records import ArmResult, Asked, Evaluated

BAD = "<script>alert('x')</script>\"'$\\frac{$ </style>& \N{CJK UNIFIED IDEOGRAPH-9AA8}"
EVIL = {"protocol": BAD, "settings": {BAD: BAD}, "leaks": {BAD: BAD}, "failed": [BAD]}
REFERENCE = study_rows.REFERENCE


@pytest.fixture(scope="module")
def inputs():
    return study_rows.inputs()


@pytest.fixture(scope="module")
def study_page(inputs):
    return StudyPage(inputs)


@pytest.fixture(scope="module")
def page(study_page):
    return study_page.html()


def small(result=None, **changes):
    """A study of two arms and one question, judged by few rows; quick to draw."""
    whole = result or study_rows.study()
    names = (REFERENCE, "lr 4e-3")
    little = replace(
        whole,
        arms=tuple(arm for arm in whole.arms if arm.name in names),
        questions=(study_rows.QUESTIONS[1],),
        **changes,
    )
    return little, study_rows.rows(little, patients=6, draws=3)


def page_of(result, rows, summary=None):
    """The page of a study that was judged in one way."""
    return StudyPage(StudyInputs(result, study_rows.judged(result, rows, summary))).html()


def rows_of(inputs):
    """All rows of a study that was judged in one way."""
    return inputs.judgements[0].rows


def answered(result, asked, rows):
    """The answers of a study that was judged in one way."""
    return answers(result, asked, study_rows.judged(result, rows))


def of_arm(result, name, **changes):
    return replace(
        result, arms=tuple(replace(arm, **changes) if arm.name == name else arm for arm in result.arms)
    )


def tables_of(page, anchor):
    """(task, arm) -> cells of the first table of a question: score, difference, verdict, p, Holm, amount."""
    section = page[page.index(f'<h2 id="{anchor}">') :]
    table = section[: section.index("</table>")]
    found, task = {}, ""
    for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL):
        if group := re.search(r'scope="rowgroup">([^<]*)', row):
            task = group.group(1)
        elif name := re.search(r'<th scope="row">([^<]*)', row):
            cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
            found[task, name.group(1)] = [re.sub(r"<[^>]*>", "", cell) for cell in cells]
    return found


def percent(interval, sign=""):
    value, low, high = (f"{100 * one:{sign}.1f}" for one in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]".replace("-", MINUS)


def compared(inputs, asked):
    """What ``compare`` says of a question's arms in the main metric."""
    wanted = {asked.reference, *asked.arms}
    rows = [row for row in rows_of(inputs) if row.encoder in wanted and row.metric == "dice_3d"]
    return compare(rows, asked.reference)


def test_a_full_page_has_every_part_and_loads_nothing(page):
    found = parsed(page)
    for words in (
        "Which choices of the training matter",
        "All arms",
        "Length of training",
        "3D DSC, few-shot, strict",
        "What the paper says",
        "What may be concluded",
        "Total loss, DINOv2",
        "Total loss, MAE",
        "Signs of illness: an update moves the weights by more than 1.5%",
        "in 6 reports, last at step 60",
        "measured / predicted",
        "python tune/ablate.py",
        "Lineage",
        "ab" * 32,
        "2D DSC, few-shot, strict",
        "highest after 4 epochs",
        "All scores are of development patients",
        "Each training was run once",
    ):
        assert words in found.words
    assert "phantoms" not in found.words
    assert "Arms that failed" not in found.words
    assert len(found.links) >= 9


def test_scores_differences_and_p_are_those_of_the_comparison(page, inputs):
    for place, asked in enumerate(inputs.result.questions, 1):
        cells = tables_of(page, f"question-{place}")
        expected = compared(inputs, asked)
        assert len(expected.scores) == len(cells)
        for one in expected.scores:
            assert cells[one.question.task, one.encoder][0] == percent(one.interval)
            assert cells[one.question.task, one.encoder][5].startswith(f"{one.amount.patients} ")
        for one in expected.differences:
            told, verdict, p, holm = cells[one.question.task, one.encoder][1:5]
            assert told == percent(one.interval, "+")
            for text, value in ((p, one.p), (holm, one.corrected)):
                assert text == ("&lt; 0.001" if value < 0.001 else f"{value:.3f}")
            clear = one.corrected < 0.05 and one.interval.low * one.interval.high > 0
            word = "too close to say" if not clear else "better" if one.interval.value > 0 else "worse"
            assert verdict == word


def test_what_it_comes_to_stands_first(page, inputs):
    words = parsed(page).words
    (rate,) = (
        one
        for one in compared(inputs, inputs.result.questions[1]).differences
        if one.question.task == ALL_TASKS
    )
    told = f"Learning rate, against {REFERENCE} lr 4e-3 worse {percent(rate.interval, '+')}"
    assert told in words
    assert words.index(told) < words.index("As the paper's figure 2b")
    assert "Length of training, against 4 epochs" in words
    assert "highest after 4 epochs" in words[: words.index("As the paper's figure 2b")]


def test_holm_corrects_for_a_question_and_not_for_the_page(inputs):
    asked = inputs.result.questions[0]
    alone = answered(inputs.result, asked, rows_of(inputs))[0]
    for one in compared(inputs, asked).differences:
        assert alone.difference(one.question.task, one.encoder).corrected == one.corrected


def test_the_table_has_a_line_per_question_metric_task_and_arm(study_page, inputs):
    lines = list(csv.DictReader(io.StringIO(study_page.csv().decode())))
    asked = inputs.result.questions
    assert len(lines) == sum(3 * 3 * (1 + len(one.arms)) for one in asked)
    by_key = {tuple(line[name] for name in ("question", "metric", "task", "arm")): line for line in lines}
    for question in asked:
        for one in compared(inputs, question).differences:
            line = by_key[question.name, "dice_3d", one.question.task, one.encoder]
            assert line["reference"] == question.reference
            assert float(line["difference"]) == one.interval.value
            assert (float(line["p"]), float(line["p_holm"])) == (one.p, one.corrected)


def test_the_best_length_is_told_against_its_neighbours_alone(page, inputs):
    rows = [
        row
        for row in rows_of(inputs)
        if "epochs" in row.encoder and (row.task, row.metric) == ("bone", "dice_3d")
    ]
    found = {one.encoder: one for one in compare(rows, "4 epochs").differences}
    words = parsed(page).words
    told = " ".join(
        f"after {epoch} epochs it is {percent(one.interval, '+')}, p < 0.001, beyond noise{end}"
        for epoch, one, end in ((2, found["2 epochs"], ";"), (8, found["8 epochs"], "."))
    )
    assert told in words
    alts = [image["alt"] for image in parsed(page).images]
    assert any(alt.startswith("Length of training: bone: 2 epochs ") for alt in alts)


def test_the_papers_directions_are_met_missed_or_left_open(inputs):
    main = [answered(inputs.result, one, rows_of(inputs))[0] for one in inputs.result.questions]
    found = {one.says: one for one in findings(inputs.result, inputs.recipes, main)}
    verdicts = {says.split()[0] + says.split()[-1]: one.verdict for says, one in found.items()}
    assert verdicts == {
        "SAM'snone": AGREES,
        "SAM'salone": OPEN,
        "DINOv2weights": AGREES,
        "Samplingwith": DISAGREES,
        "A4e-3": AGREES,
        "Normalisingvolume": OPEN,
        "Theworse": AGREES,
    }
    assert all(set(one.by_task) == set(study_rows.TASKS) for one in found.values())


def test_a_direction_of_the_paper_is_turned_where_the_reference_is_its_loser(inputs):
    turned = Asked("rate", "Learning rate", "lr 4e-3", (REFERENCE,), "bars")
    main = answered(inputs.result, turned, rows_of(inputs))[:1]
    (found,) = findings(inputs.result, inputs.recipes, main)
    assert (found.arms, found.verdict) == ((REFERENCE, "lr 4e-3"), AGREES)


def test_arms_that_differ_in_more_than_a_claim_are_not_held_against_the_paper(inputs):
    recipe = inputs.recipes["lr 4e-3"]
    other = recipe.model_copy(update={"seed": 1})
    main = answered(inputs.result, inputs.result.questions[1], rows_of(inputs))[:1]
    assert findings(inputs.result, {**inputs.recipes, "lr 4e-3": other}, main) == []


def test_arms_of_other_lengths_are_not_held_against_a_claim_about_another_setting(inputs):
    recipe = inputs.recipes["lr 4e-3"]
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"schedule_epochs": 8})})
    main = answered(inputs.result, inputs.result.questions[1], rows_of(inputs))[:1]
    assert findings(inputs.result, {**inputs.recipes, "lr 4e-3": longer}, main) == []
    read_later = of_arm(inputs.result, "lr 4e-3", epoch=2)
    assert findings(read_later, inputs.recipes, main) == []


@pytest.mark.parametrize(
    ("two", "four", "eight", "verdict"),
    [(0.6, 0.7, 0.6, AGREES), (0.8, 0.7, 0.6, DISAGREES), (0.701, 0.7, 0.6, OPEN), (0.6, 0.7, 0.699, OPEN)],
)
def test_four_epochs_must_be_highest_and_the_longest_training_worse(two, four, eight, verdict):
    whole = study_rows.study()
    result = replace(
        whole,
        arms=tuple(arm for arm in whole.arms if "epochs" in arm.name),
        questions=(study_rows.QUESTIONS[3],),
    )
    scores = {"2 epochs": two, "4 epochs": four, "8 epochs": eight}
    rows = study_rows.rows(result, seed=2, scores=scores)
    (found,) = findings(result, study_rows.recipes(result), answered(result, result.questions[0], rows)[:1])
    assert found.verdict == verdict


def test_failed_ill_waiting_and_unjudged_arms_are_told_with_their_reasons(inputs):
    result = of_arm(inputs.result, "lr 4e-3", state="failed", problem="worker 0 failed", encoder="")
    result = of_arm(result, "MAE", state="ill", problem="flat: the image tokens all point one way")
    result = of_arm(result, "random weights", state="waiting", encoder="")
    rows = [row for row in rows_of(inputs) if row.encoder not in ("lr 4e-3", "random weights", "volume-wise")]
    judged = study_rows.judged(result, rows, {"protocol": "few_shot", "failed": ["failed: a unit"]})
    words = parsed(StudyPage(replace(inputs, result=result, judgements=judged)).html()).words
    for told in (
        "lr 4e-3 failed worker 0 failed",
        "MAE ill flat: the image tokens all point one way",
        "random weights not trained yet the same command trains it",
        "volume-wise not judged its encoder is there, but nothing of it in: few-shot, strict",
        "failed: a unit",
        "7 of 10",
    ):
        assert told in words


def test_without_its_reference_a_question_has_scores_and_no_differences():
    result, rows = small()
    rows = [row for row in rows if row.encoder != REFERENCE]
    cells = tables_of(page_of(result, rows), "question-1")
    assert cells["bone", "lr 4e-3"][0]
    assert cells["bone", "lr 4e-3"][1:5] == ["", "cannot be told", "", ""]
    assert cells["bone", REFERENCE][:3] == ["", "", "not judged"]


def test_a_study_that_was_never_judged_is_still_a_page():
    result, _ = small(evaluations=(), judging=())
    words = parsed(StudyPage(study_rows.inputs(result)).html()).words
    assert "the study has no labelled task" in words
    assert "--task" not in words
    assert "Total loss, DINOv2" in words


def test_of_one_patient_there_are_no_numbers():
    result, rows = small()
    alone = [row for row in rows if row.patient == "p0"]
    page = page_of(result, alone)
    cells = tables_of(page, "question-1")
    assert {cell[0] for cell in cells.values()} == {""}
    assert cells["bone", REFERENCE][2] == "too few patients or draws in common"
    assert "bone (1), breast (1)" in parsed(page).words


def test_of_a_single_task_there_is_no_mean_over_tasks():
    result, rows = small()
    single = [row for row in rows if row.task == "bone"]
    page = page_of(replace(result, evaluations=(Evaluated("few_shot", "strict", 3, ("bone",)),)), single)
    assert set(tables_of(page, "question-1")) == {("", REFERENCE), ("", "lr 4e-3")}
    assert ALL_TASKS not in page


def test_draws_that_only_some_arms_have_count_for_none():
    result, rows = small()
    kept = [row for row in rows if row.encoder == REFERENCE or row.draw < 2]
    cells = tables_of(page_of(result, kept), "question-1")
    assert cells["bone", REFERENCE][5].endswith(" 2")
    nothing = [row for row in rows if (row.encoder == REFERENCE) == (row.draw < 1)]
    cells = tables_of(page_of(result, nothing), "question-1")
    assert cells["bone", "lr 4e-3"][0] == ""


def test_a_metric_that_is_never_defined_gives_no_number_and_no_fault():
    result, rows = small()
    rows = [replace(row, value=float("nan")) if row.task == "bone" else row for row in rows]
    cells = tables_of(page_of(result, rows), "question-1")
    assert cells["bone", REFERENCE][0] == ""
    assert cells["breast", REFERENCE][0]


def test_arms_that_are_one_encoder_share_rows_and_are_not_tested_against_each_other(inputs):
    same = inputs.result.arm("4 epochs").encoder
    result = of_arm(inputs.result, "2 epochs", encoder=same)
    rows = [row for row in rows_of(inputs) if row.encoder != "2 epochs"]
    asked = inputs.result.questions[3]
    answer = answered(result, asked, rows)[0]
    assert answer.same("2 epochs")
    assert answer.number("bone", "2 epochs") == answer.number("bone", "4 epochs")
    assert answer.difference("bone", "2 epochs") is None
    without = replace(asked, arms=("8 epochs",))
    expected = answered(inputs.result, without, rows)[0].difference("bone", "8 epochs")
    assert answer.difference("bone", "8 epochs") == expected


def test_an_arm_judged_under_the_name_of_its_twin_has_its_numbers(inputs):
    result = of_arm(inputs.result, "4 epochs", encoder=inputs.result.arm(REFERENCE).encoder)
    rows = [row for row in rows_of(inputs) if row.encoder != "4 epochs"]
    curve = answered(result, result.questions[3], rows)[0]
    bars = answered(result, result.questions[0], rows)[0]
    assert curve.number("bone", "4 epochs").interval == bars.number("bone", REFERENCE).interval
    assert curve.difference("bone", "8 epochs").against == "4 epochs"


def test_better_and_worse_need_both_the_test_and_the_interval(inputs):
    asked = compared(inputs, inputs.result.questions[0]).differences[0]
    for low, high, corrected, expected in (
        (0.01, 0.03, 0.01, 1),
        (-0.03, -0.01, 0.01, -1),
        (-0.01, 0.03, 0.01, 0),
        (0.01, 0.03, 0.06, 0),
    ):
        interval = Interval((low + high) / 2, low, high)
        assert beyond_noise(replace(asked, interval=interval, corrected=corrected)) == expected
    assert isinstance(asked, Difference)
    assert beyond_noise(None) == 0


def test_the_page_tells_no_place_and_no_patient(page, study_page):
    for text in (page, study_page.csv().decode()):
        for secret in ("somebody", "secret", "/home"):
            assert secret not in text
        assert not re.search(r"\b[pc]\d+\b", re.sub(r"#[0-9a-f]{6}|base64,[^\"]*", "", text))
    assert "runs/vitb16_mri-aaaaaaaaaa" in page


def test_hostile_and_long_names_stay_text():
    names = (BAD, "b " * 30, "c" * 90)
    arms = tuple(
        ArmResult(name, BAD, (BAD,), BAD, BAD, 2**at, 4, "ill", BAD, 9, BAD, str(at))
        for at, name in enumerate(names)
    )
    questions = (
        Asked("a", BAD, BAD, names[1:], "bars"),
        Asked("b", "d" * 200, BAD, names[1:], "bars"),
        Asked("c", BAD, BAD, names[1:], "curve"),
    )
    result = study_rows.study(
        **{"name": BAD, "title": BAD, "recipe": BAD, "baseline": BAD, "settings": (BAD,), "arms": arms},
        **{"questions": questions, "manifest_digest": BAD, "code_revision": BAD, "mlflow_run_id": BAD},
        evaluations=(Evaluated(BAD, BAD, 3, (BAD, "t" * 90)),),
        judging=("--mode", BAD),
    )
    scores = {name: 0.5 + 0.1 * at for at, name in enumerate(names)}
    rows = study_rows.rows(result, patients=4, draws=2, tasks=(BAD, "t" * 90), scores=scores)
    history = {BAD: [{"step": 1, "loss/total": float("nan"), "gauge/rank": 2.0}]}
    judged = study_rows.judged(result, rows, EVIL)
    page = StudyPage(StudyInputs(result, judged, histories=history))
    found = parsed(page.html())
    assert "alert('x')" in found.words


def test_settings_and_leaks_of_the_evaluation_are_told(inputs):
    result, rows = small()
    summary = {
        **{"protocol": "few_shot", "mode": "strict", "settings": {"few_shot": {"lr": 1e-4}}},
        **{"leaks": {"bone": "bone: of 40 slices none is in the pretraining data"}},
    }
    words = parsed(page_of(result, rows, summary)).words
    assert "bone of 40 slices none is in the pretraining data" in words
    assert "settings.few_shot.lr 0.0001" in words
    assert "It was not looked for" not in words


def test_a_study_that_asks_nothing_compares_all_arms_with_its_baseline():
    result, rows = small()
    cells = tables_of(page_of(replace(result, questions=()), rows), "question-1")
    assert cells["bone", REFERENCE][2] == "reference"
    assert cells["bone", "lr 4e-3"][2] == "worse"


def test_a_study_of_one_arm_has_its_score_and_compares_nothing():
    result, rows = small(name="arms")
    one = replace(result, arms=result.arms[:1], questions=())
    page = page_of(one, [row for row in rows if row.encoder == REFERENCE])
    assert tables_of(page, "question-1")["bone", REFERENCE][2] == "reference"
    assert "In short" not in page
    assert "--study" not in commands(one)[0][1]


def test_phantoms_are_called_so():
    result, rows = small(generated_phantoms=True)
    words = parsed(page_of(result, rows)).words
    assert "Generated phantoms, not patients." in words
    assert "nothing here speaks of patients" in words
    assert "--data" not in commands(result)[0][1]


def test_commands_repeat_the_study_with_what_was_set():
    result, _ = small()
    (_, again), (_, reports), (_, test) = commands(result)
    assert reports.split() == [
        "python",
        "eval/report.py",
        "\\",
        "STUDY/evaluations/few_shot-strict",
        "\\",
        "--baseline",
        REFERENCE,
    ]
    for part in (
        "--study paper",
        "--recipe vitb16_mri",
        "--set train.batch_size=64",
        "--draws 5",
        "--set few_shot.epochs=50",
    ):
        assert part in again
    assert "--task breast=ROOT" in again
    assert f"mricore:STUDY/encoders/{result.arm(REFERENCE).encoder}" in test
    assert "--part test" in test
    own = replace(result, name="arms", questions=(replace(result.questions[0], name="added"),))
    first = commands(of_arm(own, REFERENCE, settings=("seed=1",)))[0][1]
    assert f"--arm '{REFERENCE}=seed=1'" in first or f"--arm {REFERENCE}=seed=1" in first
    assert "--arm 'lr 4e-3=optimizer.lr=4e-3'" in first
    assert "--study" not in first


def test_costs_are_of_whole_trainings(page):
    words = parsed(page).words
    assert "2 epochs, 4 epochs, 8 epochs 13 min 20 s 14 min 40 s 1.10" in words
    assert "MAE 6 min 40 s 7 min 0 s 1.05" in words


def test_the_same_study_gives_the_same_bytes():
    result, rows = small()
    first, second = (
        StudyPage(study_rows.inputs(result, judgements=study_rows.judged(result, rows))) for _ in range(2)
    )
    assert first.html() == second.html()
    assert first.csv() == second.csv()
