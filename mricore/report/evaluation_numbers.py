"""The numbers of the page of an evaluation: rows grouped into blocks, and what ``compare`` says of each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from mricore.evaluation.comparison import Comparison, Difference, compare
from mricore.evaluation.linear_probe import CALLED
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import MEAN
from mricore.evaluation.statistics import Interval
from mricore.report.looks import natural

PROTOCOLS = ("few_shot", "patch_probe", "linear_probe", "knn", "zero_shot")
"""In the order of a page."""
STRICT = "strict"
METRICS = {
    "dice_2d": "2D DSC",
    "dice_3d": "3D DSC",
    "nsd_mm": "3D NSD, mm",
    "nsd_voxel": "3D NSD, voxels",
    "accuracy": "accuracy",
    "dice_2d_best_cluster": "2D DSC, best cluster",
    "dice_2d_majority": "2D DSC, majority",
}
"""Metrics as they are written, in the order of columns; others come last under their own names."""
MAIN = ("dice_3d", "accuracy", "dice_2d_best_cluster", "dice_2d_majority", "dice_2d")
"""What figures show of the metrics that there are: the first of these."""
_CLUSTERS = re.compile(r"^(?P<rest>.*?)[ ,]*\bk=(?P<k>\d+)$")
Key = tuple[str, str, str, str, int | None]
"""Task, encoder, metric, label and number of clusters."""


@dataclass(frozen=True)
class Number:
    """A mean with its interval, and what it rests on.

    ``deviation`` is the standard deviation of the draws' means, None of one draw; ``left_out`` are pairs of
    patient and draw for which it is undefined.
    """

    interval: Interval
    deviation: float | None
    draws: int
    patients: int
    left_out: int


@dataclass(frozen=True, eq=False)
class Block:
    """The rows of a protocol in one mode; numbers of clusters ("k=32") are no modes but points of a curve.

    ``order`` has the encoders as the page orders them; differences are to ``baseline`` if it took part here.
    """

    protocol: str
    mode: str
    rows: tuple[Measurement, ...]
    order: tuple[str, ...]
    baseline: str | None

    @cached_property
    def tasks(self) -> list[str]:
        """Tasks in the order of their names."""
        return sorted({row.task for row in self.rows}, key=natural)

    @cached_property
    def encoders(self) -> list[str]:
        """Encoders in the order of the page."""
        there = {row.encoder for row in self.rows}
        return [name for name in self.order if name in there]

    @cached_property
    def metrics(self) -> list[str]:
        """Metrics in the order of columns; what a slice was taken for is none."""
        found = {row.metric for row in self.rows if not row.metric.startswith(CALLED)}
        ranks = {name: rank for rank, name in enumerate(METRICS)}
        return sorted(found, key=lambda name: (ranks.get(name, len(ranks)), name))

    @cached_property
    def main(self) -> str:
        """The metric that figures show."""
        return next((name for name in MAIN if name in self.metrics), self.metrics[0])

    @cached_property
    def counts(self) -> list[int]:
        """Numbers of clusters; empty where there are none."""
        return sorted({k for row in self.rows if (k := clusters_of(row.mode))})

    def classes(self, task: str) -> list[str]:
        """The classes that a task's main metric is told of, in the order of their names."""
        found = {row.label for row in self.rows if (row.task, row.metric) == (task, self.main)}
        return sorted(found - {MEAN}, key=natural)

    def number(
        self, task: str, encoder: str, metric: str, label: str = MEAN, k: int | None = None
    ) -> Number | None:
        """A number of a class or of the mean over classes; None if it was not measured or has no interval.

        ``task`` may be ``ALL_TASKS``: the mean over tasks, each of which weighs the same.
        """
        return self.numbers.get((task, encoder, metric, label, k))

    @cached_property
    def numbers(self) -> dict[Key, Number]:
        """All numbers that have an interval."""
        deviations = _deviations([*self.means, *self._by_class])
        found = {}
        for score in (*self.comparison.scores, *(self._class_comparison.scores if self._by_class else ())):
            asked = score.question
            key = (asked.task, score.encoder, asked.metric, asked.label, clusters_of(asked.mode))
            if score.interval is not None:
                amount = score.amount
                found[key] = Number(
                    score.interval, deviations.get(key), amount.draws, amount.patients, amount.left_out
                )
        return found

    @cached_property
    def differences(self) -> list[Difference]:
        """Paired differences of means over classes, with an interval; p is corrected over the whole block."""
        return [one for one in self.comparison.differences if one.interval is not None]

    def called(self, task: str, encoder: str) -> list[Measurement]:
        """The rows that tell what a slice was taken for."""
        return [
            row
            for row in self.rows
            if row.metric.startswith(CALLED) and (row.task, row.encoder) == (task, encoder)
        ]

    @cached_property
    def comparison(self) -> Comparison:
        """Of the means over classes; p is corrected over the whole block."""
        return compare(self.means, self._against)

    @cached_property
    def _class_comparison(self) -> Comparison:
        return compare(self._by_class, self._against, labels=sorted({row.label for row in self._by_class}))

    @property
    def _against(self) -> str | None:
        return self.baseline if self.baseline in self.encoders else None

    @cached_property
    def means(self) -> list[Measurement]:
        """Rows of means over classes; where only classes were measured, each counts as a case of its own."""
        measured = [row for row in self._common if not row.metric.startswith(CALLED)]
        meant = {(row.task, row.metric) for row in measured if row.label == MEAN}
        return [
            row if row.label == MEAN else replace(row, label=MEAN, case=f"{row.case} {row.label}")
            for row in measured
            if row.label == MEAN or (row.task, row.metric) not in meant
        ]

    @cached_property
    def _by_class(self) -> list[Measurement]:
        return [row for row in self._common if row.label != MEAN and not row.metric.startswith(CALLED)]

    @cached_property
    def _common(self) -> list[Measurement]:
        """Rows of the draws that all encoders of a task have, as an evaluation may have been stopped."""
        draws: dict[tuple[str, str], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for row in self.rows:
            draws[row.task, row.mode][row.encoder].add(row.draw)
        shared = {key: set.intersection(*found.values()) for key, found in draws.items()}
        return [row for row in self.rows if row.draw in shared[row.task, row.mode]]


def blocks(rows: Sequence[Measurement], order: Sequence[str], baseline: str | None) -> list[Block]:
    """Rows by protocol and mode, encoders in the order given; the strict mode of a protocol comes first."""
    found: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    for row in rows:
        found[row.protocol, block_mode(row.mode)].append(row)
    ranks = {name: rank for rank, name in enumerate(PROTOCOLS)}
    ordered = sorted(found, key=lambda key: (ranks.get(key[0], len(ranks)), key[0], key[1] != STRICT, key[1]))
    return [Block(*key, tuple(found[key]), tuple(order), baseline) for key in ordered]


def metric_title(metric: str) -> str:
    """A metric as it is written."""
    return METRICS.get(metric, metric.replace("_", " "))


@cache
def block_mode(mode: str) -> str:
    """A mode without its number of clusters."""
    found = _CLUSTERS.match(mode)
    return found["rest"] if found else mode


@cache
def clusters_of(mode: str) -> int | None:
    """32 of "k=32"; None of a mode without a number of clusters."""
    found = _CLUSTERS.match(mode)
    return int(found["k"]) if found else None


def _deviations(rows: Iterable[Measurement]) -> dict[Key, float]:
    """Standard deviations of the means of draws; patients weigh equally, as in ``compare``."""
    values: dict[Key, dict[int, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in rows:
        if np.isfinite(row.value):
            key = (row.task, row.encoder, row.metric, row.label, clusters_of(row.mode))
            values[key][row.draw][row.patient].append(row.value)
    means = {
        key: [np.mean([np.mean(some) for some in patients.values()]) for patients in draws.values()]
        for key, draws in values.items()
    }
    return {key: float(np.std(found, ddof=1)) for key, found in means.items() if len(found) > 1}
