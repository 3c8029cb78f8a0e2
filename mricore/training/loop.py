"""The training loop, free of Ray: it yields what happened every few steps and lets the caller report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mricore.config.schema import Recipe
from mricore.data.batch import Batch
from mricore.data.stream import BatchSource
from mricore.objective.communication import Communicator
from mricore.training.checkpoint import Row
from mricore.training.rates import rates_at
from mricore.training.state import TrainState
from mricore.training.step import Forward, train_step, views_of


class DivergedError(Exception):
    """A loss is no longer a finite number; holds the step."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"loss is not finite at step {step}")


@dataclass(frozen=True)
class Report:
    """What the loop yields: metric rows since the last report, and whether to write a checkpoint now."""

    rows: list[Row]
    step: int
    save: bool


@dataclass
class Clock:
    """Seconds spent per kind of work since the last report."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, kind: str) -> None:
        """Add the time since the last lap to ``kind``."""
        now = time.perf_counter()
        self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self._last
        self._last = now


@dataclass
class Loop:
    """Trains a state to the end of the recipe.

    ``observe`` is called with every batch that has been trained on; tests keep a ledger with it.
    """

    state: TrainState
    forward: Forward
    source: BatchSource
    recipe: Recipe
    communicator: Communicator
    device: torch.device
    observe: Callable[[Batch], None] | None = None
    stop_after: int | None = None

    def __post_init__(self) -> None:
        self.steps_per_epoch = self.source.steps(0)
        self.total = self.steps_per_epoch * self.recipe.train.epochs
        self._clock = Clock()
        self._pending: list[tuple[Row, dict[str, Tensor]]] = []
        self._slices = 0
        self._saved_at = time.monotonic()

    def run(self) -> Iterator[Report]:
        """Run to the end, or until ``stop_after`` steps are done.

        Raises:
            DivergedError: a loss became infinite or NaN (found at the next report).
        """
        end = min(self.total, self.stop_after or self.total)
        while self.state.step < end:
            epoch, first = divmod(self.state.step, self.steps_per_epoch)
            for batch in self.source.batches(epoch, first):
                self._clock.lap("data_wait")
                self._advance(batch)
                if self.state.step % self.recipe.train.log_every == 0 or self.state.step == end:
                    yield self._report(last=self.state.step == end)
                    self._clock.lap("checkpoint")  # all that the caller does with a report
                if self.state.step == end:
                    return

    def _advance(self, batch: Batch) -> None:
        recipe = self.recipe
        rates = rates_at(self.state.step, self.total, recipe)
        views = views_of(batch, recipe, self.device)
        self._clock.lap("views")
        with_gauges = (self.state.step + 1) % recipe.train.log_every == 0
        metrics = train_step(
            self.state, self.forward, views, batch.counts, rates, recipe, self.communicator, with_gauges
        )
        self._clock.lap("step")
        self._slices += batch.global_size
        row: Row = {"step": float(self.state.step)}
        row |= {f"schedule/{name}": value for name, value in rates.logged().items()}
        self._pending.append((row, metrics))
        if self.observe is not None:
            self.observe(batch)

    def _report(self, last: bool) -> Report:
        """Sum the shares of all workers in one go; the first worker's clock decides about a checkpoint."""
        due = time.monotonic() - self._saved_at >= self.recipe.train.checkpoint_seconds
        shares = [value.float() for _, metrics in self._pending for value in metrics.values()]
        decision = torch.tensor(float(due and self.communicator.rank == 0), device=self.device)
        summed = self.communicator.sum(torch.stack([*shares, decision])).tolist()
        save = bool(summed.pop()) or last
        if save:
            self._saved_at = time.monotonic()
        rows = self._rows(iter(summed))
        return Report(rows, self.state.step, save)

    def _rows(self, values: Iterator[float]) -> list[Row]:
        rows = []
        for row, metrics in self._pending:
            row |= {name: next(values) for name in metrics}
            if not torch.isfinite(torch.tensor(row["loss/total"])):
                raise DivergedError(int(row["step"]))
            rows.append(row)
        seconds = self._clock.seconds
        rows[-1] |= {f"time/{kind}_s": spent / len(rows) for kind, spent in seconds.items()}
        rows[-1]["progress/slices_per_s"] = self._slices / max(sum(seconds.values()), 1e-9)
        self._pending, self._slices, self._clock = [], 0, Clock()
        return rows
