"""Measurements as tables of patients and draws that encoders share, or a clear word that they do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mricore.errors import UserError
from mricore.evaluation.crossed import Values
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import MEAN

Place = tuple[int, str, str]
"""Draw, patient and case."""
Measured = dict[Place, float]
SAME = ("data", "seed", "part", "version")
"""What units must share for their draws to be the same."""


@dataclass(frozen=True, order=True)
class Question:
    """What was measured on a task (or on several together)."""

    protocol: str
    mode: str
    metric: str
    label: str
    task: str

    def __str__(self) -> str:
        label = "" if self.label == MEAN else f" of {self.label}"
        return f"{self.protocol} ({self.mode}), {self.metric}{label}, {self.task}"


@dataclass(frozen=True)
class Table:
    """Values (patients, draws) of each encoder for a question; NaN in the same cells for all encoders.

    A patient's value in a draw is the mean over the volumes or slices for which the metric is defined.
    ``left_out`` counts pairs of patient and draw for which it is undefined with some encoder.
    """

    values: Mapping[str, Values]
    left_out: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Patients and draws of which something is known."""
        return next(iter(self.values.values())).shape


def tables(
    rows: Iterable[Measurement], metrics: Sequence[str] | None, labels: Sequence[str] | None
) -> dict[Question, Table]:
    """A table for each question; None means all metrics, or all labels.

    Raises:
        UserError: there is nothing of a metric, something was measured twice, or encoders were not measured
            on the same cases and draws.
    """
    found: dict[Question, dict[str, Measured]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if labels is None or row.label in labels:
            question = Question(row.protocol, row.mode, row.metric, row.label, row.task)
            _add(found[question][row.encoder], row, question)
    measured = sorted({question.metric for question in found})
    wanted = measured if metrics is None else metrics
    if not wanted or not set(wanted) <= set(measured):
        what = ", ".join(sorted(set(wanted) - set(measured))) or "measurements of that kind"
        raise UserError(f"the results hold no {what}", f"they hold: {', '.join(measured) or 'nothing'}")
    return {
        question: _table(question, found[question]) for question in sorted(found) if question.metric in wanted
    }


def require_same_draws(units: Iterable[Mapping[str, Any]]) -> None:
    """Make sure that draws of the same number are the same draws; ``units`` are documents of units.

    Rows tell a draw by its number and patients by theirs, which are the same words for other seeds and data.

    Raises:
        UserError: two units of a protocol, task and draw have other data, seed, part or version.
    """
    known: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for unit in units:
        key = tuple(str(unit.get(name)) for name in ("protocol", "task", "draw"))
        own = unit.get("identity", {})
        first = known.setdefault(key, own)
        for name in SAME:
            if own.get(name) != first.get(name):
                raise UserError(
                    f"{key[0]} on {key[1]}: units of draw {key[2]} have other {name}, so encoders were not "
                    "judged on the same draws",
                    "evaluate all of them by the same version on the same task with the same seed and part",
                )


def _add(values: Measured, row: Measurement, question: Question) -> None:
    place = row.draw, row.patient, row.case
    if place in values:
        raise UserError(
            f"{question}: {row.encoder!r} was measured twice in draw {row.draw}",
            "give each result once, and different encoders different names",
        )
    values[place] = row.value


def _table(question: Question, group: Mapping[str, Measured]) -> Table:
    everything: set[Place] = set().union(*group.values())
    for encoder, measured in sorted(group.items()):
        if missing := len(everything - set(measured)):
            raise UserError(
                f"{question}: {encoder!r} lacks {missing} of {len(everything)} measurements that another "
                "encoder has, so they were not judged on the same patients and draws",
                "evaluate all of them on the same task with the same seed and number of draws",
            )
    cells = {encoder: _cells(measured) for encoder, measured in group.items()}
    known = set.intersection(*(set(found) for found in cells.values()))
    patients, draws = (
        {name: place for place, name in enumerate(sorted({cell[axis] for cell in known}))} for axis in (0, 1)
    )
    values = {}
    for encoder, found in sorted(cells.items()):
        filled = np.full((len(patients), len(draws)), np.nan)
        for patient, draw in known:
            filled[patients[patient], draws[draw]] = found[patient, draw]
        values[encoder] = filled
    return Table(values, len({(patient, draw) for draw, patient, _ in everything}) - len(known))


def _cells(measured: Measured) -> dict[tuple[str, int], float]:
    """Mean of the defined values of each patient and draw that has one."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for (draw, patient, _), value in sorted(measured.items()):
        if not np.isnan(value):
            found[patient, draw].append(value)
    return {cell: float(np.mean(some)) for cell, some in found.items()}
