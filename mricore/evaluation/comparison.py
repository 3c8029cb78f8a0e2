"""Encoders side by side: each value with its interval, paired differences with corrected p.

What is compared are means over patients and draws, which weigh equally. A patient and draw for which the
metric is undefined with any encoder are left out for all of them, so that all numbers of a question speak of
the same patients. Intervals and tests: ``crossed.py``; docs/metrics.md tells the choices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mricore.errors import UserError
from mricore.evaluation.crossed import Components, Values, better_share, components, mean_interval, mean_p
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import MEAN
from mricore.evaluation.paired import Question, Table, tables
from mricore.evaluation.statistics import Interval, holm

ALL_TASKS = "all tasks"
ONE_PATIENT = "one patient: no interval, so no value"
WITHOUT = "without {tasks}, which fewer than two patients judge"
ONE_DRAW = "one draw: says nothing of other draws"
TWO_DRAWS = "two draws: intervals may be too narrow"
NOTHING = "undefined for every patient"


@dataclass(frozen=True)
class Amount:
    """What a number rests on; ``left_out`` are pairs of patient and draw for which it is undefined.

    ``without`` are the tasks that take no part in a number over all tasks, as one patient judges them.
    """

    patients: int
    draws: int
    left_out: int
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """The mean of an encoder; without an interval there is no value, and the note says why."""

    question: Question
    encoder: str
    interval: Interval | None
    amount: Amount
    note: str


@dataclass(frozen=True)
class Difference:
    """``encoder`` minus ``against`` on the same patients and draws.

    ``better`` is the share of patients for which the difference is above 0, an effect size without unit.
    ``corrected`` is p after Holm's correction for all differences of the comparison. ``components`` are the
    variances of the differences; None for a single draw and over several tasks.
    """

    question: Question
    encoder: str
    against: str
    interval: Interval | None
    better: Interval | None
    p: float | None
    corrected: float | None
    components: Components | None
    amount: Amount
    note: str


@dataclass(frozen=True)
class Comparison:
    """All scores and differences, in the order of questions and encoders."""

    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]


def compare(
    rows: Iterable[Measurement],
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    labels: Sequence[str] | None = (MEAN,),
    seed: int = 0,
) -> Comparison:
    """Compare all pairs of encoders, or each with the baseline; over all tasks too where there are several.

    A task that one patient judges takes no part in what is said of all tasks, if two others remain: it would
    leave that without an interval. Amount and note tell it.

    ``metrics`` and ``labels`` None mean all. The order of the rows does not matter.

    Raises:
        UserError: there is nothing of a metric, encoders were not measured on the same cases and draws,
            something was measured twice, or the baseline took no part.
    """
    found = tables(rows, metrics, labels)
    encoders = sorted({encoder for table in found.values() for encoder in table.values})
    if baseline is not None and baseline not in encoders:
        raise UserError(f"no encoder is named {baseline!r}", f"choose one of: {', '.join(encoders)}")
    scores: list[Score] = []
    differences: list[Difference] = []
    for question, together, without in _with_summaries(found):
        shared = sorted(set.intersection(*(set(table.values) for table in together)))
        amount = _amount(together, without)
        scores += [_score(question, encoder, together, amount, seed) for encoder in shared]
        pairs = _pairs(shared, baseline)
        differences += [_difference(question, *pair, together, amount, seed) for pair in pairs]
    return Comparison(tuple(scores), _corrected(differences))


def _with_summaries(
    found: Mapping[Question, Table],
) -> list[tuple[Question, list[Table], tuple[str, ...]]]:
    """Each question with its table, and after the tasks of a question all of them together.

    With the latter are the tasks that are not among them.
    """
    by_summary: dict[Question, list[Question]] = defaultdict(list)
    for question in found:
        by_summary[replace(question, task=ALL_TASKS)].append(question)
    ordered: list[tuple[Question, list[Table], tuple[str, ...]]] = []
    for summary, questions in by_summary.items():
        ordered += [(question, [found[question]], ()) for question in questions]
        if len(questions) > 1:
            several = [question for question in questions if found[question].shape[0] > 1]
            chosen = several if len(several) > 1 else questions
            without = tuple(question.task for question in questions if question not in chosen)
            ordered.append((summary, [found[question] for question in chosen], without))
    return ordered


def _pairs(encoders: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """(encoder, against): all pairs, or each with the baseline where that took part."""
    if baseline is None:
        return list(combinations(encoders, 2))
    return [(one, baseline) for one in encoders if one != baseline] if baseline in encoders else []


def _score(question: Question, encoder: str, together: Sequence[Table], amount: Amount, seed: int) -> Score:
    groups = [table.values[encoder] for table in together]
    # the same resampled patients and draws for all encoders
    interval = mean_interval(groups, np.random.default_rng(seed))
    return Score(question, encoder, interval, amount, _note(groups, amount))


def _difference(
    question: Question, encoder: str, against: str, together: Sequence[Table], amount: Amount, seed: int
) -> Difference:
    groups = [table.values[encoder] - table.values[against] for table in together]
    note = _note(groups, amount)
    if min(map(len, groups)) < 2:
        return Difference(question, encoder, against, None, None, None, None, None, amount, note)
    per_patient = np.concatenate([np.nanmean(group, axis=1) for group in groups])
    return Difference(
        *(question, encoder, against),
        interval=mean_interval(groups, np.random.default_rng(seed)),
        better=better_share(per_patient),
        p=mean_p(groups, np.random.default_rng(seed)),
        corrected=None,
        components=components(groups[0]) if len(groups) == 1 and amount.draws > 1 else None,
        amount=amount,
        note=note,
    )


def _amount(together: Sequence[Table], without: tuple[str, ...]) -> Amount:
    """Patients of all tasks, and the fewest draws that one of them has."""
    patients, draws = zip(*(table.shape for table in together), strict=True)
    return Amount(sum(patients), min(draws), sum(table.left_out for table in together), without)


def _note(groups: Sequence[Values], amount: Amount) -> str:
    """What a reader must know of the numbers; empty if nothing."""
    patients = min(len(group) for group in groups)
    if patients < 2:
        return ONE_PATIENT if patients else NOTHING
    without = WITHOUT.format(tasks=", ".join(amount.without)) if amount.without else ""
    few = {1: ONE_DRAW, 2: TWO_DRAWS}.get(min(group.shape[1] for group in groups), "")
    return "; ".join(one for one in (without, few) if one)


def _corrected(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """Differences with Holm's correction over all that have a p."""
    corrected = iter(holm([one.p for one in differences if one.p is not None]))
    return tuple(replace(one, corrected=next(corrected)) if one.p is not None else one for one in differences)
