"""The numbers of a study's page for documents: tables in GitHub's Markdown, and figures as SVG files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mricore.report.drawing import svg
from mricore.report.study import StudyPage
from mricore.report.study_matrix import Matrix, MatrixGroup
from mricore.report.study_numbers import judge_title
from mricore.report.study_sections import Section, View
from mricore.report.study_tables import TIMES, ArmLine
from mricore.study_records import StudyResult

PAPER = "white"
"""The background of figures, so that they can be read on dark pages too."""
COLUMNS = ("task", "arm", "score, %", "difference, points", "p, Holm", "verdict", f"patients {TIMES} draws")
NONE = "\N{EN DASH}"
_MARKS = re.compile(r"[\\|>*`~#&]|<(?=[A-Za-z/!?])|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would take for its own; underscores within a word, and intervals in brackets, are none."""
Row = Sequence[str]


def tables(page: StudyPage) -> str:
    """The verdicts of all questions, and a table for each question and judgement, in its main metric.

    The numbers are those of the page.
    """
    result = page.inputs.result
    parts = [f"# {_text(result.title)}", _judged(result)]
    if page.matrix.groups:
        parts += ["## In short", _matrix(page.matrix), _explained(page.matrix)]
    for one in page.sections:
        parts += _section(one)
    return "\n\n".join(parts) + "\n"


def figures(page: StudyPage) -> dict[str, str]:
    """The figures of questions, and of all arms where the page has one, as SVG by file name.

    Names are ``QUESTION-PROTOCOL-MODE.svg``; a figure of differences ends with ``-differences.svg``.
    """
    views = [view for one in page.sections for view in one.views]
    drawn = [
        drawing for view in (*page.overview, *views) for drawing in (view.figure, view.forest) if drawing
    ]
    return {f"{_file(one.name)}.svg": svg(one.figure, PAPER) for one in drawn}


def _judged(result: StudyResult) -> str:
    """Who judged, in a sentence."""
    if not result.evaluations:
        return "The study has no labelled task: nothing was judged."
    tasks = dict.fromkeys(task for how in result.evaluations for task in how.tasks)
    ways = "; ".join(judge_title(how) for how in result.evaluations)
    parts = [f"Judged on {result.part} patients of {', '.join(tasks)}; by {ways}."]
    parts += ["Arms, questions and ways of judging were fixed before."] if result.part == "test" else []
    parts += ["Generated phantoms, not patients."] if result.generated_phantoms else []
    return _text(" ".join(parts))


def _explained(matrix: Matrix) -> str:
    """What verdicts and numbers are."""
    alone = ", for each column by itself" if len(matrix.columns) > 1 else ""
    left = f" (without {_text(', '.join(matrix.without))}, which fewer than two patients judge)"
    return (
        f"Differences to the reference over all tasks{left if matrix.without else ''}, in percentage points "
        "with 95% intervals, on the same patients and draws. Better or worse: p is below 0.05 after Holm's "
        "correction over the arms and "
        f"tasks of the question{alone}, and the interval leaves out 0."
    )


def _matrix(matrix: Matrix) -> str:
    lines = [line for group in matrix.groups for line in _lines_of(group)]
    columns = [f"{one.judged}: {one.measure}" for one in matrix.columns]
    return _table(["question", "arm", "against", *columns], lines)


def _lines_of(group: MatrixGroup) -> Iterable[Row]:
    asked = group.question
    for arm, cells in group.lines:
        told = [f"{cell.verdict} {cell.difference}".strip() or NONE for cell in cells]
        yield [asked.title, arm, asked.reference, *told]
    if any(group.highest):
        yield [asked.title, "highest score", "", *(told or NONE for told in group.highest)]


def _section(one: Section) -> Iterable[str]:
    yield f"## {_text(one.question.title)}"
    if not one.views:
        yield "Not judged."
    for view in one.views:
        yield f"### {_text(view.title)}"
        yield _view(view)
        if view.best:
            yield "\n".join(f"- {_text(sentence)}" for sentence in view.best)


def _view(view: View) -> str:
    lines = [_line(group.task, line) for group in view.groups for line in group.lines]
    return _table(COLUMNS, lines)


def _line(task: str, line: ArmLine) -> Row:
    return [task, line.arm, *(line.score, line.difference, line.corrected, line.verdict, line.amount)]


def _table(columns: Row, lines: Iterable[Row]) -> str:
    rows = [_row(columns), _row(["---"] * len(columns), marked=False), *map(_row, lines)]
    return "\n".join(rows)


def _row(cells: Row, marked: bool = True) -> str:
    return "| " + " | ".join(_text(cell) if marked else cell for cell in cells) + " |"


def _text(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    return _MARKS.sub(lambda found: f"\\{found.group()}", " ".join(text.split()))


def _file(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.-]+", "_", name)
