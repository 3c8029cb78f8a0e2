"""Which figures an evaluation gives (paper Figs. 1d, 2a, 2c, 3b, 3c, 4b), from its numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mricore.evaluation.comparison import ALL_TASKS
from mricore.evaluation.linear_probe import confusion
from mricore.evaluation.statistics import Interval
from mricore.report.drawing import Drawing
from mricore.report.evaluation_charts import (
    RADAR_AXES,
    Confusion,
    Difference,
    adaptation,
    bars,
    confusions,
    curves,
)
from mricore.report.evaluation_charts import forest as drawn_forest
from mricore.report.evaluation_charts import radar as drawn_radar
from mricore.report.evaluation_numbers import Block, Number, metric_title
from mricore.report.evaluation_results import Document
from mricore.report.looks import Checkpoint, Look, looks, series

SIGNIFICANT = 0.05
OVER_TASKS = "mean over tasks"
Group = TypeVar("Group", str, int)


def complete(block: Block) -> list[str]:
    """The encoders that were judged on all tasks of a block; a mean over other tasks compares nothing."""
    judged = {(row.task, row.encoder) for row in block.rows}
    return [name for name in block.encoders if all((task, name) in judged for task in block.tasks)]


def task_radar(block: Block, seen: Mapping[str, Look]) -> Drawing | None:
    """Main metric, a task per axis (Fig. 1d); None of fewer than three tasks."""
    scores = _by_task(block, complete(block))
    if len(block.tasks) < RADAR_AXES or not scores:
        return None
    return drawn_radar(figure_name(block, "radar"), f"{_title(block)} by task", scores, block.tasks, seen)


def task_bars(block: Block, seen: Mapping[str, Look]) -> Drawing | None:
    """Main metric, a group of bars per task (Fig. 3b); with clusters there are curves instead."""
    scores = _by_task(block, block.encoders)
    if block.counts or not scores:
        return None
    groups = list(block.tasks)
    if len(groups) > 1:
        groups.append(OVER_TASKS)
        for name in complete(block):
            mean = block.number(ALL_TASKS, name, block.main)
            if mean:
                scores[name][OVER_TASKS] = mean.interval
    title = f"{_title(block)} by task"
    return bars(figure_name(block, "tasks"), title, f"{metric_title(block.main)}, %", scores, groups, seen)


def mean_bars(block: Block, seen: Mapping[str, Look]) -> Drawing | None:
    """Mean over the tasks, a group of bars per metric (Fig. 2a); None of one task or one metric."""
    if block.counts or len(block.tasks) < 2 or len(block.metrics) < 2:
        return None
    scores: dict[str, dict[str, Interval]] = {}
    for name in complete(block):
        values = {metric_title(metric): block.number(ALL_TASKS, name, metric) for metric in block.metrics}
        scores[name] = _intervals(values)
    scores = {name: values for name, values in scores.items() if values}
    groups = [metric_title(metric) for metric in block.metrics]
    if not scores:
        return None
    return bars(figure_name(block, "mean"), f"{block.protocol}, mean over tasks", "%", scores, groups, seen)


def checkpoint_curves(block: Block, known: Mapping[str, Checkpoint]) -> list[Drawing]:
    """Main metric over the checkpoints of each run, a line per task (Fig. 2c)."""
    drawings = []
    for number, ((run, unit), points) in enumerate(series(block.encoders, known).items(), 1):
        lines: dict[str, dict[int, Interval]] = {}
        for task in block.tasks:
            line = _intervals({at: block.number(task, name, block.main) for at, name in points})
            if len(line) > 1:
                lines[task] = line
        if lines:
            name = figure_name(block, f"checkpoints_{number}")
            title = f"{_title(block)} over checkpoints of {run}"
            drawings.append(
                curves(name, title, f"{metric_title(block.main)}, %", lines, looks(lines, None), unit)
            )
    return drawings


def cluster_curves(block: Block, seen: Mapping[str, Look]) -> list[tuple[str, Drawing]]:
    """For each task and metric the values over numbers of clusters, a line per encoder (Fig. 4b)."""
    drawings = []
    for task in block.tasks if block.counts else ():
        for metric in block.metrics:
            lines: dict[str, dict[int, Interval]] = {}
            for name in block.encoders:
                lines[name] = _intervals({k: block.number(task, name, metric, k=k) for k in block.counts})
            lines = {name: line for name, line in lines.items() if line}
            if lines:
                drawn = curves(
                    figure_name(block, f"{task}_{metric}"),
                    f"{block.protocol} on {task}, {metric_title(metric)}",
                    f"{metric_title(metric)}, %",
                    lines,
                    seen,
                    "clusters",
                )
                drawings.append((f"{task}: {metric_title(metric)}", drawn))
    return drawings


def confusion_figures(block: Block, encoders: Sequence[str]) -> list[tuple[str, Drawing]]:
    """For each task the confusion matrices of the encoders, all draws together (Fig. 3c)."""
    drawings = []
    for task in block.tasks:
        matrices = {
            name: Confusion(*confusion(rows)) for name in encoders if (rows := block.called(task, name))
        }
        if matrices:
            title = f"Confusion matrices of {task}"
            drawings.append((task, confusions(figure_name(block, f"{task}_confusion"), title, matrices)))
    return drawings


def adaptation_curves(
    block: Block, units: Sequence[Document], seen: Mapping[str, Look]
) -> list[tuple[str, Drawing]]:
    """For each task how the validation slices of all draws scored while encoders were adapted."""
    drawings = []
    for task in block.tasks:
        found: dict[str, dict[int, list[float]]] = {name: {} for name in block.encoders}
        for unit in units:
            settings = unit.get("identity", {}).get("settings", {})
            if (unit.get("protocol"), unit.get("task"), settings.get("name")) == (
                block.protocol,
                task,
                block.mode,
            ):
                for point in (unit.get("curve") or {}).get("points", ()):
                    line = found.setdefault(str(unit["encoder"]), {})
                    line.setdefault(int(point["epoch"]), []).append(float(point["validation"]))
        lines = {name: line for name, line in found.items() if len(line) > 1 and name in seen}
        if lines:
            name = figure_name(block, f"{task}_adaptation")
            drawings.append((task, adaptation(name, f"Adaptation on {task}, {block.protocol}", lines, seen)))
    return drawings


def forest(block: Block, seen: Mapping[str, Look]) -> Drawing | None:
    """Differences of the main metric to the baseline, a row per task and encoder; None without a baseline."""
    chosen = [one for one in block.differences if one.against == block.baseline]
    if block.counts or not chosen:
        return None
    groups = {
        task: [
            Difference(one.encoder, one.interval, (one.corrected or 0.0) < SIGNIFICANT)
            for one in chosen
            if one.interval and (one.question.metric, one.question.task) == (block.main, task)
        ]
        for task in (*block.tasks, ALL_TASKS)
    }
    groups = {task: differences for task, differences in groups.items() if differences}
    if not groups:
        return None
    title = f"{_title(block)}, difference to {block.baseline}"
    unit = f"{metric_title(block.main)}, percentage points more than {block.baseline}"
    return drawn_forest(figure_name(block, "differences"), title, unit, groups, seen)


def _intervals(numbers: Mapping[Group, Number | None]) -> dict[Group, Interval]:
    return {group: one.interval for group, one in numbers.items() if one}


def _by_task(block: Block, encoders: Sequence[str]) -> dict[str, dict[str, Interval]]:
    scores = {}
    for name in encoders:
        scores[name] = _intervals({task: block.number(task, name, block.main) for task in block.tasks})
    return {name: values for name, values in scores.items() if values}


def _title(block: Block) -> str:
    return f"{block.protocol}{', ' + block.mode if block.mode else ''}: {metric_title(block.main)}"


def figure_name(block: Block, what: str) -> str:
    """The name of a figure's file: plain letters, whatever a task is called."""
    whole = "_".join(part for part in (block.protocol, block.mode, what) if part)
    return re.sub(r"[^A-Za-z0-9]+", "_", whole).strip("_")
