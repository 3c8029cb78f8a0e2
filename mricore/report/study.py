"""One self-contained HTML page about an ablation study, with the paper's figures 2b and 2c."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mricore.config.schema import Recipe
from mricore.report.evaluation_facts import asked, leaks
from mricore.report.evaluation_results import Results
from mricore.report.panels import Row
from mricore.report.study_claims import Finding, findings
from mricore.report.study_csv import results_csv
from mricore.report.study_lines import answers_text
from mricore.report.study_matrix import Matrix, matrix
from mricore.report.study_numbers import (
    Answer,
    Judgement,
    answers,
    judge_title,
    judged_in,
    main_answers,
    questions_of,
)
from mricore.report.study_sections import Section, View, overview, section, widest
from mricore.report.study_tables import failed_arms, lineages
from mricore.report.study_texts import allowed, commands, facts, limits
from mricore.report.study_trainings import cost_lines, gauges_of, loss_figures, training_lines
from mricore.report.templates import render_template
from mricore.study_records import Asked, StudyResult

OVERVIEW = "overview"
"""The question that shows the arms of all questions with bars side by side."""


@dataclass(frozen=True)
class StudyInputs:
    """What the page is made of; whatever is empty is left out of it.

    ``judgements`` are the study's evaluations. ``recipes`` are by arm, with the digest of their initial
    weights; ``histories`` by name of the run, a row per step. ``counts`` are the manifest's.
    """

    result: StudyResult
    judgements: Sequence[Judgement] = ()
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    histories: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


class StudyPage:
    """A study as a page and as CSV; the numbers are made once."""

    def __init__(self, inputs: StudyInputs) -> None:
        self.inputs = inputs
        self.answers: dict[Asked, list[Answer]] = {
            question: answers(inputs.result, question, inputs.judgements)
            for question in questions_of(inputs.result)
        }

    @cached_property
    def sections(self) -> list[Section]:
        """Each question with its figures and tables."""
        result = self.inputs.result
        return [
            section(f"question-{place}", *one, result) for place, one in enumerate(self.answers.items(), 1)
        ]

    @cached_property
    def matrix(self) -> Matrix:
        """Verdicts of all questions by all judgements."""
        return matrix(self.answers, self.inputs.result)

    @cached_property
    def overview(self) -> list[View]:
        """All arms of the questions with bars in one figure, where there are several such questions."""
        result = self.inputs.result
        bars = [question for question in self.answers if question.kind == "bars"]
        if len(bars) < 2:
            return []
        arms = dict.fromkeys(arm for one in bars for arm in (one.reference, *one.arms))
        others = tuple(arm for arm in arms if arm != result.baseline)
        whole = Asked(OVERVIEW, "All arms", result.baseline, others, "bars")
        return overview(answers(result, whole, self.inputs.judgements), result)

    def html(self) -> str:
        """The page as HTML text; all given text is escaped."""
        given, result = self.inputs, self.inputs.result
        judged = {one.how.folder: judged_in(result, one) for one in given.judgements}
        evaluations = Results([], [one.summary for one in given.judgements if one.summary], [], [])
        return render_template(
            "study.html",
            title=result.title,
            result=result,
            facts=facts(result, given.counts, given.judgements),
            judges=[judge_title(how) for how in result.evaluations],
            tasks=list(dict.fromkeys(task for how in result.evaluations for task in how.tasks)),
            matrix=self.matrix,
            overview=self.overview,
            widest=widest(self.overview),
            untrained=any(not arm.is_trained for arm in result.arms),
            questions=self.sections,
            findings=self._findings(),
            failed=failed_arms(result, judged),
            failed_units=self._failed_units(),
            leaks=leaks(evaluations),
            asked=asked(evaluations),
            losses=loss_figures(result, given.histories, given.recipes),
            gauges=list(gauges_of(given.histories).values()),
            trainings=training_lines(result, given.histories, given.recipes),
            costs=cost_lines(result),
            allowed=allowed(),
            limits=limits(result, given.judgements),
            commands=commands(result),
            lineages=lineages(result, given.recipes),
        )

    def text(self) -> str:
        """Scores and differences in the main metrics, for a terminal."""
        return answers_text(self.answers, self.inputs.result)

    def csv(self) -> bytes:
        """Every score and paired test of every question, judgement and metric."""
        return results_csv(answer for found in self.answers.values() for answer in found)

    def _findings(self) -> list[Finding]:
        main = [answer for found in self.answers.values() for answer in main_answers(found)]
        return findings(self.inputs.result, self.inputs.recipes, main)

    def _failed_units(self) -> list[str]:
        given = self.inputs.judgements
        return [
            f"{judge_title(one.how)}: {unit}" if len(given) > 1 else str(unit)
            for one in given
            for unit in one.summary.get("failed", ())
        ]
