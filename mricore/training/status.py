"""What the controller of a run tells the terminal: the last report, the pace, and what went wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mricore.training.checkpoint import Row

HALF_LIFE = 60.0
"""Seconds of training after which a report counts half for the pace."""
WITHIN_OTHERS = ("time/communication_s",)
"""Times that are part of others."""


@dataclass(frozen=True)
class Status:
    """A run as its controller knows it. ``step`` is 0 before the first report of this process."""

    step: int = 0
    total: int = 0
    workers: int = 0
    loss: float = math.nan
    slices_per_s: float = math.nan
    seconds_per_step: float = math.nan
    data_wait_share: float = math.nan
    signs: tuple[str, ...] = ()
    """Signs of illness that the last report showed."""
    checkpoint_step: int | None = None
    """Step of the last checkpoint that this process has seen."""
    failures: int = 0
    failure: str = ""
    """Which workers failed last and how, without any content of their messages."""
    unlogged: int = 0
    """Steps that MLflow has not got yet although it was tried."""
    tracking: str = ""
    """What is wrong with MLflow."""

    def write(self, path: Path) -> None:
        """Replace the file at once, so that nobody reads half of it."""
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> Status:
        """The status in a file; an empty one while there is none."""
        if not path.exists():
            return cls()
        document = json.loads(path.read_text())
        return cls(**{**document, "signs": tuple(document["signs"])})


@dataclass
class Pace:
    """How fast training goes, by the workers' own clocks: what is no training (a restart) does not count."""

    reports: int = 0
    last_slices: float = 0.0
    """Slices of the last report."""
    _sums: dict[str, float] = field(default_factory=dict)

    def add(self, rows: Sequence[Row]) -> None:
        """Take a report: one row per step, the last with means of "time/..." and "progress/slices_per_s"."""
        last, steps = rows[-1], len(rows)
        times = {name: value for name, value in last.items() if name.startswith("time/")}
        seconds = steps * sum(value for name, value in times.items() if name not in WITHIN_OTHERS)
        self.last_slices = seconds * last.get("progress/slices_per_s", 0.0)
        if not seconds:
            return
        self.reports += 1
        # the first report has what is slow once: first batches, compilation, caches
        if self.reports == 1 and self._sums:
            return
        kept = 0.0 if self.reports == 2 else 0.5 ** (seconds / HALF_LIFE)
        fresh = {
            "steps": float(steps),
            "seconds": seconds,
            "slices": self.last_slices,
            "data_wait": steps * times.get("time/data_wait_s", 0.0),
        }
        self._sums = {name: value + kept * self._sums.get(name, 0.0) for name, value in fresh.items()}

    def restart(self) -> None:
        """New workers: what was holds until their second report, as their first is slow again."""
        self.reports = 0

    @property
    def seconds_per_step(self) -> float:
        """NaN before the first report."""
        return self._ratio("seconds", "steps")

    @property
    def slices_per_s(self) -> float:
        """Of all workers together."""
        return self._ratio("slices", "seconds")

    @property
    def data_wait_share(self) -> float:
        """Share of the first worker's time that it waits for its next batch."""
        return self._ratio("data_wait", "seconds")

    def _ratio(self, above: str, below: str) -> float:
        return self._sums[above] / self._sums[below] if self._sums else math.nan
