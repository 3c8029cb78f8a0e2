"""What a pretraining method is to the training loop: a network, views of a batch, losses."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Losses of one part of a step.

    ``total`` is this worker's share and carries the gradient; ``terms`` are the shares of its parts without
    weights, scalars on the device. ``seen`` is what gauges look at, without gradient.
    """

    total: Tensor
    terms: dict[str, Tensor]
    seen: Any


class Method(Protocol):
    """DINOv2 or MAE.

    A worker goes through its share of the global batch in one part or several (``training/parts.py``). The
    student sees part after part, so that memory is needed for one alone. Whatever looks at the whole batch
    comes before, in ``targets``, so that all parts together give the gradient of the whole.
    """

    has_teacher: bool

    def network(self, generator: torch.Generator) -> nn.Module:
        """A network with random weights."""
        ...

    def views(self, batch: Batch, rates: Rates, device: torch.device) -> Sequence[Any]:
        """What the network sees of each part; follows from (seed, epoch, step, position) alone."""
        ...

    def targets(
        self, state: TrainState, views: Sequence[Any], rates: Rates, communicator: Communicator
    ) -> Sequence[Any]:
        """What the student is to answer in each part."""
        ...

    def losses(
        self,
        forward: nn.Module,
        views: Any,
        targets: Any,
        counts: Sequence[int],
        slices: int,
        communicator: Communicator,
    ) -> Outcome:
        """This worker's share of the losses of one part.

        ``forward`` is the student, wrapped if workers are several; ``counts`` are the slices of each worker
        in this part, and ``slices`` those of the global batch.
        """
        ...

    def gauges(
        self,
        targets: Sequence[Any],
        seen: Sequence[Any],
        rates: Rates,
        counts: Sequence[int],
        communicator: Communicator,
    ) -> Gauges:
        """Health of a step's outputs over all parts and workers, who must call it together.

        Only when a report is due, since some gauges wait for the device.
        """
        ...
