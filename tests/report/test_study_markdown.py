"""Tables and figures of a study for documents: the numbers of its page, as Markdown and SVG."""

import base64
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import proof_rows
import pytest
import study_rows

from mricore.report.study import StudyInputs, StudyPage
from mricore.report.study_markdown import figures, tables

CELL = re.compile(r"(?<!\\)\|")


@pytest.fixture(scope="module")
def page():
    result = proof_rows.only(proof_rows.study(), "patch_probe", "zero_shot", "knn")
    tasks = ("kidney", "vertebrae:any")
    ways = tuple(replace(how, tasks=tasks) for how in result.evaluations)
    result = replace(result, evaluations=ways, questions=proof_rows.QUESTIONS[1:])
    return StudyPage(StudyInputs(result, proof_rows.judgements(result)))


@pytest.fixture(scope="module")
def markdown(page):
    return tables(page)


@pytest.fixture(scope="module")
def drawn(page):
    return figures(page)


def judged_by_one(judgement, task):
    """The judgement with rows of one patient alone on a task."""
    patient = next(row.patient for row in judgement.rows if row.task == task)
    rows = [row for row in judgement.rows if row.task != task or row.patient == patient]
    return replace(judgement, rows=rows)


def background_of(svg):
    """How the area behind everything is filled."""
    return re.search(r'<g id="patch_1">\s*<path[^>]*style="([^"]*)"', svg).group(1)


def cells_of(line):
    return [cell.strip() for cell in CELL.split(line)[1:-1]]


def table_below(text, heading):
    """The cells of the first table below a heading, without its two first lines."""
    lines = text[text.index(f"{heading}\n") :].splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|"))
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append(cells_of(line))
    assert len({len(cells) for cells in found}) == 1
    assert set(found[1]) == {"---"}
    return found[2:]


def test_the_verdicts_are_a_line_for_each_arm_and_a_column_for_each_protocol(page, markdown):
    lines = table_below(markdown, "## In short")
    asked = [one.question for one in page.matrix.groups]
    arms = [(one.title, arm, one.reference) for one in asked for arm in one.arms]
    assert [tuple(line[:3]) for line in lines if line[1] != "highest score"] == arms
    for group in page.matrix.groups:
        for arm, cells in group.lines:
            (line,) = (one for one in lines if one[:2] == [group.question.title, arm])
            assert line[3:] == [f"{cell.verdict} {cell.difference}" for cell in cells]
    (highest,) = (line for line in lines if line[1] == "highest score")
    assert highest[3:] == page.matrix.groups[-1].highest
    assert "after 4 epochs" in highest


def test_each_question_and_protocol_has_the_lines_of_the_page(page, markdown):
    for one in page.sections:
        below = markdown[markdown.index(f"## {one.question.title}\n") :]
        for view in one.views:
            expected = [
                [group.task, line.arm, line.score, line.difference, line.corrected, line.verdict, line.amount]
                for group in view.groups
                for line in group.lines
            ]
            assert len(expected) == len(view.groups) * (1 + len(one.question.arms))
            assert table_below(below, f"### {view.title}") == expected


def test_who_judged_is_told_first(markdown):
    assert (
        "Judged on test patients of kidney, vertebrae:any; by patch probe, linear; k-NN, strict" in markdown
    )
    assert "fixed before" in markdown
    assert "in percentage points with 95% intervals" in markdown


def test_figures_are_named_by_question_protocol_and_mode(page, drawn):
    ways = [(one.question.name, view.answer.how) for one in page.sections for view in one.views]
    names = {f"{question}-{how.protocol}-{how.mode}.svg" for question, how in ways}
    assert names == {name for name in drawn if not name.endswith("-differences.svg")}
    assert {"epochs-patch_probe-linear.svg", "random-zero_shot-paper.svg"} <= names
    assert "epochs-knn-strict-differences.svg" in drawn


def test_figures_are_whole_on_white_and_say_what_they_show_as_text(drawn):
    for text in drawn.values():
        root = ElementTree.fromstring(text)  # noqa: S314 - our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert background_of(text) == "fill: #ffffff"
    assert ">vertebrae:any<" in drawn["epochs-patch_probe-linear.svg"]


def test_figures_of_the_page_itself_have_no_background(page):
    source = page.sections[0].views[0].figure.chart().source
    assert background_of(base64.b64decode(source.partition(",")[2]).decode()) == "fill: none"


def test_a_study_of_several_questions_with_bars_has_a_figure_of_all_arms():
    result = proof_rows.only(proof_rows.study(), "knn")
    found = figures(StudyPage(StudyInputs(result, proof_rows.judgements(result))))
    assert "overview-knn-strict.svg" in found
    assert ">random untrained<" in found["overview-knn-strict.svg"]


def test_nothing_that_is_given_is_taken_for_markup():
    bad = "a|b <script> [x](y) *c* _d_ # `e` \\ f_g\nnew"
    result = study_rows.study(
        arms=study_rows.arms()[:2],
        questions=(replace(study_rows.QUESTIONS[0], title=bad, arms=("SAM in the student",)),),
    )
    rows = study_rows.rows(result, patients=4, draws=2)
    text = tables(StudyPage(StudyInputs(result, study_rows.judged(result, rows))))
    escaped = r"a\|b \<script\> [x\](y) \*c\* \_d\_ \# \`e\` \\ f_g new"
    assert f"## {escaped}\n" in text
    assert table_below(text, "## In short")[0][0] == escaped


def test_a_study_without_a_labelled_task_says_so():
    result = study_rows.study(evaluations=(), judging=())
    page = StudyPage(StudyInputs(result))
    assert "nothing was judged" in tables(page)
    assert "In short" not in tables(page)
    assert figures(page) == {}


def test_development_patients_are_called_so_and_nothing_was_fixed_before():
    result = study_rows.study()
    rows = study_rows.rows(result, patients=4, draws=2)
    text = tables(StudyPage(StudyInputs(result, study_rows.judged(result, rows))))
    assert "Judged on development patients of bone, breast; by few-shot, strict." in text
    assert "fixed before" not in text


def test_a_task_that_one_patient_judges_is_named_where_all_tasks_are_spoken_of():
    result = proof_rows.only(proof_rows.study(), "patch_probe")
    tasks = ("abdomen", "kidney", "vertebrae:any")
    ways = tuple(replace(how, tasks=tasks) for how in result.evaluations)
    result = replace(result, evaluations=ways, questions=proof_rows.QUESTIONS[1:2])
    judgements = proof_rows.judgements(result)
    whole = StudyPage(StudyInputs(result, judgements))
    alone = StudyPage(StudyInputs(result, [judged_by_one(one, "kidney") for one in judgements]))
    told = "over all tasks (without kidney, which fewer than two patients judge), in percentage points"
    for text in (tables(alone), re.sub(r"\s+", " ", alone.html())):
        assert told in text
        assert "all tasks, without kidney" in text
    for text in (tables(whole), whole.html()):
        assert "without kidney" not in text
    score = next(
        line for line in tables(alone).splitlines() if line.startswith("| all tasks, without kidney")
    )
    assert re.search(r"\d \[", score)
