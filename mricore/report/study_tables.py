"""Tables of a study's page: cells of text, never a mean without its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mricore.config.schema import Recipe
from mricore.evaluation.comparison import ALL_TASKS, Difference
from mricore.report.evaluation_numbers import metric_title
from mricore.report.evaluation_tables import p_text, percent
from mricore.report.study_numbers import Answer, Best, best_of, beyond_noise
from mricore.report.study_trainings import STATES
from mricore.study_records import ArmResult, StudyResult

BETTER, WORSE, CLOSE = "better", "worse", "too close to say"
FEW_ARMS = 4
"""So many are told one by one where it is to be short; more are sorted by verdict."""
NO_INTERVAL = "too few patients or draws in common"
TIMES = "\N{MULTIPLICATION SIGN}"
REFERENCE, SAME, UNKNOWN = "reference", "same encoder as the reference", "cannot be told"


@dataclass(frozen=True)
class ArmLine:
    """An arm on a task. Without a score ``verdict`` says why."""

    arm: str
    score: str
    difference: str
    p: str
    corrected: str
    amount: str
    verdict: str


@dataclass(frozen=True)
class TaskGroup:
    """The lines of a task, or of all tasks."""

    task: str
    lines: list[ArmLine]


@dataclass(frozen=True)
class Lineage:
    """Where the encoder of an arm comes from; whatever is not known is empty."""

    arm: str
    settings: str
    run: str
    mlflow_run: str
    checkpoint: str
    epoch: str
    encoder: str
    initial: str


def task_groups(answer: Answer, result: StudyResult) -> list[TaskGroup]:
    """All lines of an answer, by task; over all tasks first, as that is the short of it."""
    return [
        TaskGroup(task, [_line(answer, task, result.arm(arm)) for arm in answer.arms])
        for task in sorted(answer.groups, key=lambda task: task != ALL_TASKS)
    ]


def verdict(difference: Difference | None) -> str:
    """Plain words for a difference to the reference."""
    if difference is None or difference.corrected is None:
        return UNKNOWN
    return {1: BETTER, -1: WORSE}.get(beyond_noise(difference), CLOSE)


def in_short(answer: Answer, result: StudyResult) -> str:
    """What an answer comes to over all its tasks, in a sentence; empty where nothing is compared."""
    if not answer.groups or not answer.question.arms:
        return ""
    task = answer.groups[-1]
    if answer.question.kind == "curve":
        best = best_of(answer, task, on_curve(answer, result))
        return _best(best, result) if best else "no scores."
    lines = [_line(answer, task, result.arm(arm)) for arm in answer.question.arms]
    told = _by_verdict(lines) if len(lines) > FEW_ARMS else [_one_by_one(line) for line in lines]
    return f"against {answer.question.reference}, {'; '.join(told)}."


def _one_by_one(line: ArmLine) -> str:
    return f"{line.arm}: {line.verdict}{f' ({line.difference})' if line.difference else ''}"


def _by_verdict(lines: Sequence[ArmLine]) -> list[str]:
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line.verdict, []).append(line.arm)
    ranks = [BETTER, CLOSE, WORSE]
    ordered = sorted(found, key=lambda word: ranks.index(word) if word in ranks else len(ranks))
    return [f"{word}: {', '.join(found[word])}" for word in ordered]


def best_sentences(answer: Answer, result: StudyResult) -> list[str]:
    """Of each task of a curve where it is highest, and whether the neighbours differ beyond noise."""
    arms = on_curve(answer, result)
    found = [(task, best_of(answer, task, arms)) for task in answer.groups]
    return [f"{_start(task)}: {_best(best, result)}" for task, best in found if best]


def on_curve(answer: Answer, result: StudyResult) -> list[ArmResult]:
    """The judged arms of a curve by epoch."""
    return sorted((result.arm(arm) for arm in answer.judged), key=lambda arm: arm.epoch)


def failed_arms(result: StudyResult, judged: set[str]) -> list[tuple[str, str, str]]:
    """Name, state and reason of each arm that failed, is ill, was not trained or was not judged."""
    found = []
    for arm in result.arms:
        if arm.state != "finished":
            found.append((arm.name, STATES[arm.state], arm.problem or _no_reason(arm)))
        elif result.evaluation and arm.name not in judged:
            found.append((arm.name, "not judged", "it is trained, but the evaluation holds nothing of it"))
    return found


def lineages(result: StudyResult, recipes: Mapping[str, Recipe]) -> list[Lineage]:
    """The origin of each arm; recipes tell what it began with."""
    return [
        Lineage(
            arm=arm.name,
            settings=", ".join(arm.settings) or "as the recipe",
            run=arm.run,
            mlflow_run=arm.mlflow_run_id,
            # the folders above are the user's, and may be called anything
            checkpoint="/".join(arm.checkpoint.rstrip("/").split("/")[-2:]),
            epoch=f"{arm.epoch:,}",
            encoder=arm.encoder,
            initial=_initial(recipes[arm.name]) if arm.name in recipes else "",
        )
        for arm in result.arms
    ]


def _initial(recipe: Recipe) -> str:
    """The SHA-256 of the initial weights, or that they were drawn at random."""
    initial = recipe.initial
    return f"random, seed {recipe.seed}" if initial.layout == "none" else initial.sha256 or initial.layout


def _line(answer: Answer, task: str, arm: ArmResult) -> ArmLine:
    number, difference = answer.number(task, arm.name), answer.difference(task, arm.name)
    if number is None:
        return ArmLine(arm.name, "", "", "", "", "", _without(answer, task, arm))
    amount = f"{number.patients:,} {TIMES} {number.draws:,}"
    score = percent(number.interval)
    if arm.name == answer.question.reference or answer.same(arm.name):
        word = SAME if answer.same(arm.name) else REFERENCE
        return ArmLine(arm.name, score, "", "", "", amount, word)
    if difference is None or difference.interval is None:
        return ArmLine(arm.name, score, "", "", "", amount, UNKNOWN)
    told, p, corrected = percent(difference.interval, True), _p(difference.p), _p(difference.corrected)
    return ArmLine(arm.name, score, told, p, corrected, amount, verdict(difference))


def _p(p: float | None) -> str:
    return "" if p is None else p_text(p)


def _without(answer: Answer, task: str, arm: ArmResult) -> str:
    """Why an arm has no score on a task."""
    if arm.name not in answer.judged:
        return "not judged" if arm.state == "finished" else STATES[arm.state]
    there = {row.task for row in answer.block.rows if row.encoder == answer.judged[arm.name]}
    if task == ALL_TASKS and len(there) < len(answer.block.tasks):
        return "not judged on all tasks"
    return NO_INTERVAL if task == ALL_TASKS or task in there else "not judged on it"


def _no_reason(arm: ArmResult) -> str:
    return "the same command trains it" if arm.state == "waiting" else "no reason was recorded"


def _best(best: Best, result: StudyResult) -> str:
    epoch = result.arm(best.arm).epoch
    told = [
        f"highest after {epoch:,} {'epoch' if epoch == 1 else 'epochs'} ({percent(best.number.interval)})"
    ]
    for arm, difference in best.neighbours:
        if difference.interval is not None and difference.corrected is not None:
            beyond = "beyond noise" if beyond_noise(difference) else "within noise"
            told.append(
                f"after {result.arm(arm).epoch:,} it is {percent(difference.interval, True)}, "
                f"p {p_text(difference.corrected)}, {beyond}"
            )
    return "; ".join(told) + "."


def _start(task: str) -> str:
    return "All tasks" if task == ALL_TASKS else task


def score_title(answer: Answer) -> str:
    """What the numbers of an answer are."""
    where = f"{answer.block.protocol.replace('_', '-')}, {answer.block.mode}".rstrip(", ")
    return f"{metric_title(answer.metric)}, {where}"
