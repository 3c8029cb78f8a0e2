"""Whole optimisation steps with the time of each part: from 16-bit slices in memory to updated weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mricore.config.schema import Recipe
from mricore.data.batch import FULL, Batch, Slices
from mricore.objective.communication import Alone
from mricore.training.compiling import compile_networks
from mricore.training.initial import initial_state
from mricore.training.methods import method_of
from mricore.training.rates import rates_at
from mricore.training.step import train_step

PARTS = ("crops", "teacher", "student", "backward", "update")
"""Crops and masks; the teacher and its targets; the student and the losses; the gradients and their clipping;
AdamW and the moving average."""
WHEN = (50, 100)
"""Step and length of the schedules whose rates all steps take."""


class Marks:
    """Moments on the device's own clock, in the order in which it reaches them."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.moments: list[Any] = []

    def mark(self, *_: object) -> None:
        """Remember this moment; the host does not wait for it."""
        if not self.on_gpu:
            self.moments.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.moments.append(event)

    def seconds(self) -> list[float]:
        """Between one moment and the next; waits for the last."""
        pairs = list(zip(self.moments, self.moments[1:], strict=False))
        if not self.on_gpu:
            return [after - before for before, after in pairs]
        torch.cuda.synchronize()
        return [before.elapsed_time(after) / 1000 for before, after in pairs]


class WholeStep:
    """The step of a training worker, on a batch of noise that lies in the host's memory."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.state, self.method = initial_state(recipe, device), method_of(recipe)
        if recipe.train.compile:
            compile_networks(self.state)
        self.batch, self.rates = noise(recipe), rates_at(*WHEN, recipe)

    def run(self) -> None:
        """One step, as training does it."""
        self._step(self.method)

    def parts(self, steps: int) -> list[list[float]]:
        """Seconds of each of ``PARTS`` in each of some steps, which follow each other freely."""
        marks = Marks(self.device)
        hook = self.state.optimizer.register_step_pre_hook(marks.mark)
        marks.mark()
        try:
            for _ in range(steps):
                self._step(_Marked(self.method, marks))
                marks.mark()
        finally:
            hook.remove()
        seconds, count = marks.seconds(), len(PARTS)
        return [seconds[count * step : count * (step + 1)] for step in range(steps)]

    def _step(self, method: Any) -> None:
        views: Sequence[Any] = method.views(self.batch, self.rates, self.device)
        student, counts = self.state.student, self.batch.counts
        train_step(self.state, method, student, views, counts, self.rates, self.recipe, Alone())


class _Marked:
    """A method whose parts leave a mark when they end."""

    def __init__(self, method: Any, marks: Marks) -> None:
        self.method, self.marks = method, marks

    def __getattr__(self, name: str) -> Any:
        part = getattr(self.method, name)

        def marked(*given: Any) -> Any:
            found = part(*given)
            self.marks.mark()
            return found

        return marked


def noise(recipe: Recipe) -> Batch:
    """A batch as the reader would deliver it."""
    count, rng = recipe.train.batch_size, np.random.default_rng(0)
    images = [rng.integers(0, 65536, (256, 256)).astype(np.uint16) for _ in range(count)]
    return Batch(0, 0, Slices(images, [FULL] * count, [""] * count), np.arange(count), count, (count,))
