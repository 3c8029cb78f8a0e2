"""Signs that a run is ill, from its gauges alone, and how often each was seen in a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from mricore.config.schema import Health

Row = Mapping[str, float]
"""Metrics of one report: "loss/...", "gauge/..."."""


@dataclass(frozen=True)
class Sign:
    """A sign of illness: what is wrong, in a line, and whether a report shows it.

    ``shown`` gets the report and the first report of the run; a sign whose gauges a method lacks is not
    shown by it, as a comparison with NaN is false.
    """

    name: str
    says: str
    shown: Callable[[Gauges, Gauges], bool]
    remedy: str


class Gauges(dict[str, float]):
    """Metrics of a report, where a metric that was not measured is NaN."""

    def __missing__(self, name: str) -> float:
        return math.nan


_LOWER = "lower --set optimizer.lr or raise --set optimizer.warmup_fraction"
SIGNS = (
    Sign(
        "alike",
        "the teacher gives every slice the same answer: centering is off or the learning rate too high",
        # collapse to one prototype and collapse to all of them leave 0 nats; 0.03 is a tenth of what
        # encoders with random weights begin with
        lambda now, first: now["gauge/information"] < 0.03,
        "use --set objective.centering=sinkhorn, lower --set optimizer.lr, or raise --set train.batch_size",
    ),
    Sign(
        "certain",
        "the teacher's answers are one-hot (entropy below 0.02): its temperature is too low",
        # exp(0.02 ln K) is 1.1 prototypes of 512 and 1.2 of 65,536: an answer without a second choice
        lambda now, first: now["gauge/teacher_entropy"] < 0.02,
        "raise --set objective.teacher_temperature and its _start, or use --set objective.centering=sinkhorn",
    ),
    Sign(
        "violent",
        "an update moves the weights by more than 1.5%: the learning rate is too high",
        # seventy such updates replace the weights; 0.1% is usual, and 0.5% the most of a healthy warm-up
        lambda now, first: now["gauge/update_norm"] > 0.015,
        _LOWER,
    ),
    Sign(
        "flat",
        "the image tokens all point one way (effective rank below 1.1): the encoder has collapsed",
        # 1 is a single direction; tokens of healthy masked autoencoding go down to 1.4, DINOv2's to 12
        lambda now, first: now["gauge/rank"] < 1.1,
        _LOWER,
    ),
    Sign(
        "worse",
        "the loss is half again what it was at the start: the run diverges",
        # a uniform answer already costs about what the start costs, and a grey patch 1: more is worse than
        # to know nothing; a warmer teacher alone raises the loss of a trained network by less
        lambda now, first: now["loss/total"] > first["loss/total"] + 0.5 * abs(first["loss/total"]),
        _LOWER,
    ),
)
"""Few, each with a limit that follows from what its gauge means, far from what healthy runs show."""


NOT_FINITE = Sign(
    "not_finite",
    "a loss or a gradient is not a finite number: the run diverged",
    lambda now, first: not is_finite(now),
    _LOWER,
)
"""Not one of ``SIGNS``: weights that are no numbers are lost at once, so it is not waited for again."""


def is_finite(row: Row) -> bool:
    """Whether losses and the norm of the gradient are numbers; a gradient that is none ruins the weights."""
    return all(
        math.isfinite(value)
        for name, value in row.items()
        if name.startswith("loss/") or name == "gauge/gradient_norm"
    )


def signs_of(row: Row, first: Row) -> tuple[Sign, ...]:
    """All signs that a report shows, given the first report of the run."""
    return tuple(sign for sign in SIGNS if sign.shown(Gauges(row), Gauges(first)))


def signs_in(row: Row) -> list[str]:
    """Names of the signs that a logged report says it shows ("health/..." is 1)."""
    return [sign.name for sign in SIGNS if row.get(f"health/{sign.name}")]


@dataclass
class Monitor:
    """Counts the reports in a row that show each sign; its state is plain JSON."""

    settings: Health
    first: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def observe(self, row: Row) -> Sign | None:
        """Take a report of finite numbers; a sign that was seen in ``patience`` reports in a row, if any."""
        self.first = self.first or {"loss/total": row["loss/total"]}
        shown = signs_of(row, self.first)
        self.counts = {sign.name: self.counts.get(sign.name, 0) + 1 for sign in shown}
        ripe = [sign for sign in shown if self.counts[sign.name] >= self.settings.patience]
        return ripe[0] if ripe else None

    def forget(self) -> None:
        """Count anew: the weights are others than those that showed the signs."""
        self.counts = {}

    @property
    def suspicious(self) -> bool:
        """Whether the last report showed a sign, so that its state should not be kept."""
        return bool(self.counts)

    def seen(self) -> dict[str, bool]:
        """Whether the last report showed each sign."""
        return {sign.name: sign.name in self.counts for sign in SIGNS}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"first": self.first, "counts": self.counts}

    @classmethod
    def restored(cls, settings: Health, state: Mapping[str, Any]) -> Self:
        """The monitor that gave this state."""
        return cls(settings, dict(state["first"]), dict(state["counts"]))
