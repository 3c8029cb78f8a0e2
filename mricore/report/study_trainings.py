"""The trainings of a study: which arms are read from each, how it went, and what it took."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mricore.config.schema import Recipe
from mricore.data.progress import duration
from mricore.objective.health import NOT_FINITE, SIGNS, signs_in
from mricore.report.charts import number
from mricore.report.drawing import Drawing
from mricore.report.panels import KNOWN, Row
from mricore.report.study_charts import loss_curves
from mricore.study_records import ArmResult, StudyResult

TOTAL = "loss/total"
GAUGES = {key: panel.title for panel in KNOWN for key, _ in panel.lines if key.startswith("gauge/")}
SAID = {sign.name: sign.says for sign in (*SIGNS, NOT_FINITE)}
OBJECTIVES = {"dinov2": "DINOv2", "mae": "MAE"}
STATES = {"waiting": "not trained yet", "finished": "finished", "ill": "ill", "failed": "failed"}
"""Of trained arms."""
Histories = Mapping[str, Sequence[Row]]
"""By name of the run: the metrics of each step."""
MANY = 3
"""Arms of one training that are named one by one."""


@dataclass(frozen=True)
class TrainingLine:
    """A training in the table: name, state, numbers of its last report, and signs of illness on the way."""

    label: str
    state: str
    steps: str
    slices: str
    loss: str
    gauges: list[str]
    signs: list[str]


@dataclass(frozen=True)
class CostLine:
    """What a training was predicted to take, and what it took."""

    label: str
    predicted: str
    measured: str
    ratio: str


def by_run(result: StudyResult) -> dict[str, list[ArmResult]]:
    """The arms that are read from each training, by epoch, in the order of the study; no untrained ones."""
    found: dict[str, list[ArmResult]] = defaultdict(list)
    for arm in result.arms:
        if arm.is_trained:
            found[arm.run or arm.name].append(arm)
    return {run: sorted(arms, key=lambda arm: arm.epoch) for run, arms in found.items()}


def state_of(arm: ArmResult) -> str:
    """The state of an arm in words; one that is not trained may still wait for its encoder."""
    return "no encoder yet" if arm.state == "waiting" and not arm.is_trained else STATES[arm.state]


def label_of(arms: Sequence[ArmResult]) -> str:
    """What a training is called: by its arms."""
    names = [arm.name for arm in arms]
    return ", ".join(names) if len(names) <= MANY else f"{names[0]} to {names[-1]}, {len(names)} arms"


def gauges_of(histories: Histories) -> dict[str, str]:
    """The gauges that some training has, as they are called."""
    there = {key for rows in histories.values() for row in rows for key in row}
    return {key: title for key, title in GAUGES.items() if key in there}


def training_lines(
    result: StudyResult, histories: Histories, recipes: Mapping[str, Recipe]
) -> list[TrainingLine]:
    """How each training ended."""
    gauges = gauges_of(histories)
    lines = []
    for run, arms in by_run(result).items():
        rows = histories.get(run, ())
        step = int(max((row["step"] for row in rows), default=0))
        recipe = recipes.get(arms[0].name)
        lines.append(
            TrainingLine(
                label_of(arms),
                _states(arms),
                f"{step:,}" if rows else "",
                f"{step * recipe.train.batch_size:,}" if recipe and rows else "",
                _last(rows, TOTAL),
                [_last(rows, key) for key in gauges],
                _signs(rows),
            )
        )
    return lines


def cost_lines(result: StudyResult) -> list[CostLine]:
    """Predicted and measured time of each training; the prediction is for its whole length only."""
    lines = []
    for arms in by_run(result).values():
        whole = [arm.seconds_predicted for arm in arms if arm.epoch == arm.epochs]
        predicted = next((one for one in whole if one is not None), None)
        measured = next((arm.seconds_measured for arm in arms if arm.seconds_measured is not None), None)
        if predicted is not None or measured is not None:
            ratio = f"{measured / predicted:.2f}" if predicted and measured is not None else ""
            lines.append(CostLine(label_of(arms), _time(predicted), _time(measured), ratio))
    return lines


def loss_figures(
    result: StudyResult, histories: Histories, recipes: Mapping[str, Recipe]
) -> list[tuple[str, Drawing]]:
    """Total losses over slices seen, a figure per objective, as losses of two objectives do not compare."""
    groups: dict[str, dict[str, list[Row]]] = defaultdict(dict)
    for run, arms in by_run(result).items():
        recipe = recipes.get(arms[0].name)
        rows = _over_slices(histories.get(run, ()), recipe.train.batch_size) if recipe else []
        if recipe and rows:
            groups[OBJECTIVES[recipe.method]][label_of(arms)] = rows
    return [
        (objective, loss_curves(f"loss_{place}", f"Total loss, {objective}", lines, TOTAL))
        for place, (objective, lines) in enumerate(groups.items(), 1)
    ]


def _over_slices(rows: Sequence[Row], batch_size: int) -> list[Row]:
    """Total losses at the number of slices that all workers have seen."""
    return [{"step": row["step"] * batch_size, TOTAL: row[TOTAL]} for row in rows if TOTAL in row]


def _states(arms: Sequence[ArmResult]) -> str:
    """The state of a training; of arms that differ in it, each with how often."""
    counts = Counter(STATES[arm.state] for arm in arms)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _last(rows: Sequence[Row], key: str) -> str:
    """The last value that was logged; empty if none was."""
    return next((number(row[key]) for row in reversed(rows) if key in row), "")


def _signs(rows: Sequence[Row]) -> list[str]:
    """Each sign of illness that a report showed: what is wrong, how often, and where last."""
    seen: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        for name in signs_in(row):
            seen[name].append(int(row["step"]))
    return [
        f"{SAID.get(name, name)}; in {len(steps):,} {'report' if len(steps) == 1 else 'reports'}, "
        f"last at step {steps[-1]:,}"
        for name, steps in seen.items()
    ]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
