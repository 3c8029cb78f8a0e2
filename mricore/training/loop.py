"""The training loop, free of Ray: it yields what happened every few steps and lets the caller report."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor, nn

from mricore.config.schema import Recipe
from mricore.data.batch import Batch
from mricore.data.stream import BatchSource
from mricore.objective.communication import Communicator
from mricore.objective.health import NOT_FINITE, Sign, is_finite
from mricore.training.checkpoint import Row
from mricore.training.methods import method_of
from mricore.training.rates import rates_at
from mricore.training.state import TrainState
from mricore.training.step import train_step

logger = logging.getLogger(__name__)


class IllError(Exception):
    """The run must not go on as it is; holds the step and the sign of illness."""

    def __init__(self, step: int, sign: Sign) -> None:
        self.step, self.sign = step, sign
        super().__init__(f"step {step}: {sign.says}")


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

    ``observe`` is called with every batch that has been trained on; tests keep a ledger with it. ``restore``
    puts the state back to the last checkpoint (or to the beginning), for ``health.action=roll_back``.
    """

    state: TrainState
    forward: nn.Module
    source: BatchSource
    recipe: Recipe
    communicator: Communicator
    device: torch.device
    observe: Callable[[Batch], None] | None = None
    stop_after: int | None = None
    restore: Callable[[TrainState], None] | None = None

    def __post_init__(self) -> None:
        self.steps_per_epoch = self.source.steps(0)
        self.total = self.steps_per_epoch * self.recipe.train.epochs
        self.method = method_of(self.recipe)
        self._clock = Clock()
        self._pending: list[tuple[Row, dict[str, Tensor]]] = []
        self._slices = 0
        self._saved_at = time.monotonic()

    def run(self) -> Iterator[Report]:
        """Run to the end, or until ``stop_after`` steps are done.

        Raises:
            IllError: the run is ill (found at the next report) and the recipe says to pause, or no more
                roll-backs are allowed.
        """
        end = min(self.total, self.stop_after or self.total)
        while self.state.step < end:
            epoch, first = divmod(self.state.step, self.steps_per_epoch)
            for batch in self.source.batches(epoch, first):
                self._clock.lap("data_wait")
                step = self.state.step + 1
                due = step % self.recipe.train.log_every == 0 or step == end
                self._advance(batch, due)
                if due:
                    report, illness = self._report(last=step == end)
                    if report:
                        yield report
                        self._saved_at = time.monotonic() if report.save else self._saved_at
                    self._clock.lap("checkpoint")  # all that the caller does with a report
                    if illness:
                        self._roll_back(illness)
                        break
                if step == end:
                    return

    def _advance(self, batch: Batch, measured: bool) -> None:
        recipe = self.recipe
        rates = rates_at(self.state.step, self.total, recipe, self.state.roll_backs)
        views = self.method.views(batch, rates, self.device)
        self._clock.lap("views")
        metrics = train_step(
            self.state,
            self.method,
            self.forward,
            views,
            batch.counts,
            rates,
            recipe,
            self.communicator,
            measured,
        )
        self._clock.lap("step")
        self._slices += batch.global_size
        row: Row = {"step": float(self.state.step)}
        row |= {f"schedule/{name}": value for name, value in rates.logged(self.method.has_teacher).items()}
        self._pending.append((row, metrics))
        if self.observe is not None:
            self.observe(batch)

    def _report(self, last: bool) -> tuple[Report | None, IllError | None]:
        """What happened up to the first number that is none, and an illness that must be acted on.

        All workers come to the same diagnosis, as they see the same sums. What may be ill is not saved,
        unless the recipe says that illness is only to be logged.
        """
        rows, due = self._summed()
        sound = list(takewhile(is_finite, rows))
        if len(sound) < len(rows):  # the weights are lost, whatever the recipe says
            broken = IllError(int(rows[len(sound)]["step"]), NOT_FINITE)
            return (Report(sound, int(sound[-1]["step"]), False) if sound else None), broken
        step, sign = self.state.step, self.state.monitor.observe(rows[-1])
        rows[-1] |= {f"health/{name}": float(seen) for name, seen in self.state.monitor.seen().items()}
        rows[-1]["health/roll_backs"] = float(self.state.roll_backs)
        if self.recipe.health.action == "log":
            if sign:
                logger.warning("step %d: %s", step, sign.says)
            return Report(rows, step, due or last), None
        save = (due or last) and not sign and (last or not self.state.monitor.suspicious)
        return Report(rows, step, save), IllError(step, sign) if sign else None

    def _summed(self) -> tuple[list[Row], bool]:
        """Sum the shares of all workers in one go; the first worker's clock decides about a checkpoint."""
        due = time.monotonic() - self._saved_at >= self.recipe.train.checkpoint_seconds
        shares = [value.float() for _, metrics in self._pending for value in metrics.values()]
        decision = torch.tensor(float(due and self.communicator.rank == 0), device=self.device)
        *values, save = self.communicator.sum(torch.stack([*shares, decision])).tolist()
        self._clock.lap("report")  # the device is waited for here
        rest = iter(values)
        rows = [row | {name: next(rest) for name in metrics} for row, metrics in self._pending]
        seconds = self._clock.seconds
        rows[-1] |= {f"time/{kind}_s": spent / len(rows) for kind, spent in seconds.items()}
        rows[-1]["progress/slices_per_s"] = self._slices / max(sum(seconds.values()), 1e-9)
        self._pending, self._slices, self._clock = [], 0, Clock()
        return rows, bool(save)

    def _roll_back(self, illness: IllError) -> None:
        """Put the state back to where it was well, to go on with a lower learning rate.

        Raises:
            IllError: the recipe says to pause, or it was tried often enough.
        """
        health, tried = self.recipe.health, self.state.roll_backs
        if health.action != "roll_back" or self.restore is None or tried >= health.max_roll_backs:
            raise illness
        self.restore(self.state)
        self.state.roll_backs = tried + 1
        self.state.monitor.forget()
        self._saved_at = -math.inf  # the next report saves how often it was tried
        logger.warning(
            "%s; back to step %d with the learning rate times %g",
            illness,
            self.state.step,
            health.roll_back_lr_scale**self.state.roll_backs,
        )
