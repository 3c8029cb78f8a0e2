"""What a study comes to as lines of a terminal: for each question and judgement its main metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mricore.evaluation.comparison_text import as_text
from mricore.report.study_numbers import Answer, main_answers
from mricore.report.study_tables import score_title
from mricore.study_records import Asked, StudyResult


def answers_text(answers: Mapping[Asked, Sequence[Answer]], result: StudyResult) -> str:
    """A block of lines for each question and judgement, with the numbers of the page."""
    return "\n\n".join(block for one in answers.items() for block in _blocks(*one, result))


def _blocks(question: Asked, found: Sequence[Answer], result: StudyResult) -> Iterable[str]:
    main = main_answers(found)
    for answer in main:
        yield f"{question.title}: {score_title(answer)}\n{_compared(answer, result)}"
    if not main:
        yield f"{question.title}: not judged"


def _compared(answer: Answer, result: StudyResult) -> str:
    """The comparison, or why there is none."""
    reference = result.arm(answer.question.reference)
    if not reference.encoder:
        return f"{reference.name} has no encoder to compare with ({reference.problem or reference.state})"
    if reference.name not in answer.judged:
        return f"{reference.name}, which the others are compared with, was not judged"
    if len(set(answer.judged.values())) < 2:
        return f"no other encoder than that of {reference.name}"
    return "the arms have no draw in common" if answer.empty else as_text(answer.block.comparison)
