"""Tables of the page of an evaluation: cells of text, never a mean without its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mricore.evaluation.comparison import ALL_TASKS
from mricore.evaluation.statistics import Interval
from mricore.report import paper_numbers
from mricore.report.charts import MINUS
from mricore.report.evaluation_numbers import Block, Number, clusters_of, metric_title
from mricore.report.paper_numbers import PaperTable, Published


@dataclass(frozen=True)
class Cell:
    """A mean with its interval, its standard deviation over draws, in percent, and what the paper has."""

    text: str = ""
    deviation: str = ""
    paper: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """The cells of an encoder; ``published`` marks a competitor of the paper that was not run here."""

    encoder: str
    cells: list[Cell]
    published: bool = False


@dataclass(frozen=True)
class TaskTable:
    """All numbers of a task in one block, with the paper's table of the same dataset if it has one."""

    task: str
    told: str
    columns: list[str]
    lines: list[Line]
    classes: list[str] = field(default_factory=list)
    by_class: list[Line] = field(default_factory=list)
    main: str = ""
    paper: PaperTable | None = None

    @property
    def deviates(self) -> bool:
        """Whether any number has a standard deviation over draws."""
        return any(cell.deviation for line in self.lines for cell in line.cells)


@dataclass(frozen=True)
class ClusterTable:
    """A line per encoder, a cell per number of clusters."""

    title: str
    counts: list[int]
    lines: list[Line]


@dataclass(frozen=True)
class DifferenceTable:
    """Paired differences, a line per task, encoder and other encoder: per metric a text and a p."""

    columns: list[str]
    lines: list[tuple[str, str, str, list[tuple[str, str]]]]


def difference_table(block: Block) -> DifferenceTable:
    """All differences of a block, in its order of tasks, over all tasks last."""
    metrics = [
        name for name in block.metrics if any(one.question.metric == name for one in block.differences)
    ]
    lines: dict[tuple[str, str, str], dict[str, tuple[str, str]]] = {}
    for task in (*block.tasks, ALL_TASKS):
        for one in block.differences:
            asked = one.question
            if asked.task == task and one.interval and one.corrected is not None:
                k = clusters_of(asked.mode)
                key = (task if k is None else f"{task}, k={k}", one.encoder, one.against)
                lines.setdefault(key, {})[asked.metric] = percent(one.interval, True), p_text(one.corrected)
    return DifferenceTable(
        [metric_title(metric) for metric in metrics],
        [(*key, [cells.get(metric, ("", "")) for metric in metrics]) for key, cells in lines.items()],
    )


def task_tables(block: Block, origins: Mapping[str, str]) -> list[TaskTable]:
    """A table per task, encoders in the order of their names; ``origins`` tell what is behind a name."""
    return [_task_table(block, task, origins) for task in block.tasks]


def cluster_tables(block: Block) -> list[ClusterTable]:
    """For each task and metric a line per encoder with a cell per number of clusters."""
    tables = []
    for task in block.tasks if block.counts else ():
        for metric in block.metrics:
            lines = []
            for encoder in block.encoders:
                row = [block.number(task, encoder, metric, k=k) for k in block.counts]
                if any(row):
                    lines.append(
                        Line(encoder, [_cell(one, 0.0, "", several=False) if one else Cell() for one in row])
                    )
            if lines:
                tables.append(ClusterTable(f"{task}: {metric_title(metric)}", block.counts, lines))
    return tables


def percent(interval: Interval, signed: bool = False) -> str:
    """ "64.5 [61.2, 67.9]"."""
    sign = "+" if signed else ""
    value, low, high = (f"{100 * one:{sign}.1f}" for one in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]".replace("-", MINUS)


def p_text(p: float) -> str:
    """A p value with three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _task_table(block: Block, task: str, origins: Mapping[str, str]) -> TaskTable:
    found = {
        encoder: [block.number(task, encoder, metric) for metric in block.metrics]
        for encoder in block.encoders
    }
    found = {encoder: row for encoder, row in found.items() if any(row)}
    paper = paper_numbers.paper_table(task) if set(paper_numbers.METRICS) & set(block.metrics) else None
    lines = _with_paper(found, block.metrics, paper, origins)
    classes = block.classes(task)
    return TaskTable(
        task,
        _rests_on(found),
        [metric_title(metric) for metric in block.metrics],
        lines,
        classes if len(classes) > 1 else [],
        _by_class(block, task, list(found), classes) if len(classes) > 1 else [],
        metric_title(block.main),
        paper,
    )


def _with_paper(
    found: Mapping[str, Sequence[Number | None]],
    metrics: Sequence[str],
    paper: PaperTable | None,
    origins: Mapping[str, str],
) -> list[Line]:
    best = [
        max((one.interval.value for row in found.values() if (one := row[at])), default=0.0)
        for at in range(len(metrics))
    ]
    methods = {encoder: paper_numbers.paper_method(encoder, origins.get(encoder, "")) for encoder in found}
    lines = []
    for encoder, row in found.items():
        published = _published(paper, methods[encoder], metrics)
        cells = [
            _cell(one, highest, told, len(found) > 1)
            for one, highest, told in zip(row, best, published, strict=True)
        ]
        lines.append(Line(encoder, cells))
    for method in paper.methods if paper else ():
        if method not in methods.values():
            published = _published(paper, method, metrics)
            lines.append(Line(method, [Cell(paper=told) for told in published], published=True))
    return lines


def _published(paper: PaperTable | None, method: str | None, metrics: Sequence[str]) -> list[str]:
    if paper is None or method is None:
        return [""] * len(metrics)
    values: dict[str, Published] = dict(zip(paper_numbers.METRICS, paper.methods[method], strict=True))
    return [str(values[metric]) if metric in values else "" for metric in metrics]


def _cell(one: Number | None, best: float, paper: str, several: bool) -> Cell:
    if one is None:
        return Cell(paper=paper)
    deviation = "" if one.deviation is None else f"{100 * one.deviation:.1f}"
    return Cell(percent(one.interval), deviation, paper, several and one.interval.value == best)


def _by_class(block: Block, task: str, encoders: Sequence[str], classes: Sequence[str]) -> list[Line]:
    lines = []
    for encoder in encoders:
        row = [block.number(task, encoder, block.main, label) for label in classes]
        lines.append(Line(encoder, [_cell(one, 0.0, "", several=False) if one else Cell() for one in row]))
    return lines


def _rests_on(found: Mapping[str, Sequence[Number | None]]) -> str:
    """How many patients and draws the numbers are of."""
    summaries = [one for row in found.values() for one in row if one]
    patients, draws = ({getattr(one, name) for one in summaries} for name in ("patients", "draws"))
    left_out = max((one.left_out for one in summaries), default=0)
    parts = [_span(patients, "patient"), _span(draws, "draw")]
    return ", ".join(parts) + (
        f"; up to {left_out:,} pairs of patient and draw left out, as undefined with some encoder"
        if left_out
        else ""
    )


def _span(counts: set[int], word: str) -> str:
    if not counts:
        return f"no {word}"
    low, high = min(counts), max(counts)
    plural = "" if high == 1 else "s"
    return f"{low:,} {word}{plural}" if low == high else f"{low:,} to {high:,} {word}{plural}"
