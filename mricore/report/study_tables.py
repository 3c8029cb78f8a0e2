"""Tables of a study's page: cells of text, never a mean without its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mricore.config.schema import Recipe
from mricore.evaluation.comparison import ALL_TASKS, Difference
from mricore.report.evaluation_numbers import metric_title
from mricore.report.evaluation_tables import p_text, percent
from mricore.report.study_numbers import Answer, Best, best_of, beyond_noise, judge_title
from mricore.report.study_trainings import state_of
from mricore.study_records import ArmResult, Evaluated, StudyResult

BETTER, WORSE, CLOSE = "better", "worse", "too close to say"
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
        TaskGroup(_heading(answer, task), [_line(answer, task, result.arm(arm)) for arm in answer.arms])
        for task in sorted(answer.groups, key=lambda task: task != ALL_TASKS)
    ]


def _heading(answer: Answer, task: str) -> str:
    without = f", without {', '.join(answer.without)}" if answer.without else ""
    return f"{task}{without}" if task == ALL_TASKS else task


def verdict(difference: Difference | None) -> str:
    """Plain words for a difference to the reference."""
    if difference is None or difference.corrected is None:
        return UNKNOWN
    return {1: BETTER, -1: WORSE}.get(beyond_noise(difference), CLOSE)


def after(epoch: int) -> str:
    """When in a training, in words."""
    return f"after {epoch:,} {'epoch' if epoch == 1 else 'epochs'}" if epoch else "before training"


def best_sentences(answer: Answer, result: StudyResult) -> list[str]:
    """Of each task of a curve where it is highest, and whether the neighbours differ beyond noise."""
    arms = on_curve(answer, result)
    found = [(task, best_of(answer, task, arms)) for task in answer.groups]
    return [f"{_start(task)}: {_best(best, result)}" for task, best in found if best]


def on_curve(answer: Answer, result: StudyResult) -> list[ArmResult]:
    """The judged arms of a curve by epoch."""
    return sorted((result.arm(arm) for arm in answer.judged), key=lambda arm: arm.epoch)


def failed_arms(result: StudyResult, judged: Mapping[str, set[str]]) -> list[tuple[str, str, str]]:
    """Name, state and reason of each arm that failed, is ill, was not trained or was not judged.

    ``judged`` are the arms that each evaluation holds, by its folder.
    """
    found = []
    for arm in result.arms:
        if arm.state != "finished":
            found.append((arm.name, state_of(arm), arm.problem or _no_reason(arm)))
        elif missing := [one for one in result.evaluations if _lacks(one, arm, judged)]:
            where = "; ".join(judge_title(one) for one in missing)
            found.append((arm.name, "not judged", f"its encoder is there, but nothing of it in: {where}"))
    return found


def _lacks(how: Evaluated, arm: ArmResult, judged: Mapping[str, set[str]]) -> bool:
    return (not how.arms or arm.name in how.arms) and arm.name not in judged.get(how.folder, ())


def lineages(result: StudyResult, recipes: Mapping[str, Recipe]) -> list[Lineage]:
    """The origin of each arm; recipes tell what it began with."""
    return [
        Lineage(
            arm=arm.name,
            settings=", ".join(arm.settings) or "as the recipe",
            run=arm.run if arm.is_trained else "not trained",
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
        return "not judged" if arm.state == "finished" else state_of(arm)
    there = {row.task for row in answer.block.rows if row.encoder == answer.judged[arm.name]}
    if task == ALL_TASKS and len(there) < len(answer.block.tasks):
        return "not judged on all tasks"
    return NO_INTERVAL if task == ALL_TASKS or task in there else "not judged on it"


def _no_reason(arm: ArmResult) -> str:
    if arm.state != "waiting":
        return "no reason was recorded"
    return "the same command trains it" if arm.is_trained else "the same command makes it"


def _best(best: Best, result: StudyResult) -> str:
    told = [f"highest {after(result.arm(best.arm).epoch)} ({percent(best.number.interval)})"]
    for arm, difference in best.neighbours:
        if difference.interval is not None and difference.corrected is not None:
            beyond = "beyond noise" if beyond_noise(difference) else "within noise"
            told.append(
                f"{after(result.arm(arm).epoch)} it is {percent(difference.interval, True)}, "
                f"p {p_text(difference.corrected)}, {beyond}"
            )
    return "; ".join(told) + "."


def _start(task: str) -> str:
    return "All tasks" if task == ALL_TASKS else task


def score_title(answer: Answer) -> str:
    """What the numbers of an answer are."""
    return f"{measure_title(answer)}, {judge_title(answer.how)}"


def measure_title(answer: Answer) -> str:
    """The metric, and over which numbers of clusters it is the mean."""
    metric, counts = metric_title(answer.metric), answer.clusters
    if not counts:
        return metric
    span = f"k={counts[0]} to {counts[-1]}" if len(counts) > 1 else f"k={counts[0]}"
    return f"{metric}, {'mean over ' if len(counts) > 1 else ''}{span}"
