"""What a pretraining method is to the training loop: a network, views of a batch, losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mricore.data.batch import Batch
from mricore.objective.communication import Communicator
from mricore.training.rates import Rates
from mricore.training.state import TrainState

Gauges = dict[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """Losses of one step.

    ``total`` is this worker's share and carries the gradient; ``terms`` are the shares of its parts without
    weights, scalars on the device. ``gauges`` measures the health of the step's outputs over all workers,
    who must call it together; only when a report is due, since some gauges wait for the device.
    """

    total: Tensor
    terms: dict[str, Tensor]
    gauges: Callable[[], Gauges]


class Method(Protocol):
    """DINOv2 or MAE."""

    has_teacher: bool

    def network(self, generator: torch.Generator) -> nn.Module:
        """A network with random weights."""
        ...

    def views(self, batch: Batch, rates: Rates, device: torch.device) -> Any:
        """What the network sees of a batch; depends on (seed, epoch, step, position), never on the worker."""
        ...

    def losses(
        self,
        state: TrainState,
        forward: nn.Module,
        views: Any,
        rates: Rates,
        counts: tuple[int, ...],
        communicator: Communicator,
    ) -> Outcome:
        """This worker's share of the losses; ``forward`` is the student, wrapped if workers are several."""
        ...
