"""The training loop, free of Ray: it yields what happened every few steps and lets the caller report."""

from __future__ import annotations

import logging
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
from mricore.training.interval import SaveInterval
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
    """What the loop yields: metric rows since the last report, and whether to write a checkpoint now.

    ``keep`` is the number of epochs done, if that checkpoint is to be kept for good.
    """

    rows: list[Row]
    step: int
    save: bool
    keep: int | None = None


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
    ``judge`` gives metrics of the encoder for ``train.validate_steps``; all workers call it, the first one's
    count. Reports are ``report_seconds`` apart or more, but for those that save or end. ``may_save`` tells
    whether a checkpoint can be taken now without waiting; the first worker is asked.
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
    judge: Callable[[], Row] | None = None
    may_save: Callable[[], bool] = lambda: True
    report_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.steps_per_epoch = self.source.steps(0)
        self.total = self.steps_per_epoch * self.recipe.train.epochs
        self.method = method_of(self.recipe)
        self._clock = Clock()
        self._pending: list[tuple[Row, dict[str, Tensor]]] = []
        self._rows: list[Row] = []
        self._slices = 0
        self._exchanged = self.communicator.seconds
        self._reported_at = time.monotonic()
        self._interval = SaveInterval(
            self.recipe.train.checkpoint_seconds, self.recipe.train.checkpoint_share
        )

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
                last, judged = step == end, self._judges(step)
                keep = self._keeps(step)
                measured = last or judged or bool(keep) or step % self.recipe.train.log_every == 0
                self._advance(batch, measured)
                if measured:
                    report, illness = self._report(last, judged, keep)
                    if report:
                        yield from self._handed_over(report)
                    if illness:
                        self._roll_back(illness)
                        break
                if last:
                    return

    def _judges(self, step: int) -> bool:
        """Whether the encoder is judged after this step."""
        every = self.recipe.train.validate_steps
        return self.judge is not None and every > 0 and (step % every == 0 or step == self.total)

    def _keeps(self, step: int) -> int | None:
        """The number of epochs done after this step, if the checkpoint then is to be kept."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        return epoch if not rest and epoch in self.recipe.train.keep_epochs else None

    def _handed_over(self, report: Report) -> Iterator[Report]:
        began = time.monotonic()
        yield report
        if report.save:
            self._interval.saved(time.monotonic() - began)
        self._clock.lap("checkpoint")  # all that the caller does with a report

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

    def _report(self, last: bool, judged: bool, keep: int | None) -> tuple[Report | None, IllError | None]:
        """What happened up to the first number that is none, and an illness that must be acted on.

        All workers come to the same diagnosis, as they see the same sums. What may be ill is not saved,
        unless the recipe says that illness is only to be logged.
        """
        rows, over, due = self._summed()
        sound = list(takewhile(is_finite, rows))
        self._rows += sound
        if len(sound) < len(rows):  # the weights are lost, whatever the recipe says
            broken = IllError(int(rows[len(sound)]["step"]), NOT_FINITE)
            return self._of_rows(save=False) if self._rows else None, broken
        step, sign = self.state.step, self.state.monitor.observe(rows[-1])
        rows[-1] |= {f"health/{name}": float(seen) for name, seen in self.state.monitor.seen().items()}
        rows[-1]["health/roll_backs"] = float(self.state.roll_backs)
        if judged and self.judge is not None:
            rows[-1] |= self.judge()
            self._clock.lap("validation")
        must = last or keep is not None  # what a run ends with, or one that is stopped there would
        save = must or over or (judged and self.recipe.train.keep_best > 0)
        if self.recipe.health.action == "log":
            if sign:
                logger.warning("step %d: %s", step, sign.says)
            sign = None
        else:
            save = save and not sign and (must or not self.state.monitor.suspicious)
        illness = IllError(step, sign) if sign else None
        told = save or last or due or illness
        return self._of_rows(save, keep if save else None) if told else None, illness

    def _of_rows(self, save: bool, keep: int | None = None) -> Report:
        """A report of all rows since the one before; the last of them tells where the time went."""
        rows, seconds = self._rows, self._clock.seconds
        rows[-1] |= {f"time/{kind}_s": spent / len(rows) for kind, spent in seconds.items()}
        if self.communicator.world_size > 1:  # within the others
            exchanged = self.communicator.seconds - self._exchanged
            rows[-1]["time/communication_s"] = exchanged / len(rows)
        rows[-1]["progress/slices_per_s"] = self._slices / max(sum(seconds.values()), 1e-9)
        self._exchanged = self.communicator.seconds
        self._rows, self._slices, self._clock = [], 0, Clock()
        self._reported_at = time.monotonic()
        return Report(rows, int(rows[-1]["step"]), save, keep)

    def _summed(self) -> tuple[list[Row], bool, bool]:
        """Sum the shares of all workers in one go.

        The first worker's clock decides whether it is time for a checkpoint, and for a report.
        """
        over = self._interval.is_over() and self.may_save()
        due = time.monotonic() - self._reported_at >= self.report_seconds
        first = self.communicator.rank == 0
        decisions = torch.tensor([float(over and first), float(due and first)], device=self.device)
        shares = [value.float() for _, metrics in self._pending for value in metrics.values()]
        *values, over, due = self.communicator.sum(torch.cat([torch.stack(shares), decisions])).tolist()
        self._clock.lap("report")  # the device is waited for here
        rest = iter(values)
        rows = [row | {name: next(rest) for name in metrics} for row, metrics in self._pending]
        self._pending = []
        return rows, bool(over), bool(due)

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
        self._interval.end()  # the next report saves how often it was tried
        logger.warning(
            "%s; back to step %d with the learning rate times %g",
            illness,
            self.state.step,
            health.roll_back_lr_scale**self.state.roll_backs,
        )
