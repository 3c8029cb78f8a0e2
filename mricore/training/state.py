"""Everything that training changes, and how it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mricore.config.schema import Recipe
from mricore.model.mae_network import MaeNetwork
from mricore.model.network import Network
from mricore.objective.dinov2 import Centers
from mricore.objective.health import Monitor
from mricore.objective.shards import shared_like
from mricore.training.optimizer import build_optimizer

Trained = Network | MaeNetwork


@dataclass
class TrainState:
    """What a checkpoint holds, besides ``anchor``: the encoder's first weights, which drift is measured from.

    Weights, moments and anchor are whole, or shared between workers (``training/parallel.py``). MAE has no
    teacher and no centres. ``roll_backs`` counts how often the run went back to a checkpoint because it was
    ill.
    """

    student: Trained
    teacher: Trained | None
    optimizer: torch.optim.Optimizer
    centers: Centers | None
    anchor: list[Tensor]
    monitor: Monitor
    step: int = 0
    roll_backs: int = 0

    @property
    def the_teacher(self) -> Trained:
        """The teacher of a method that has one."""
        if self.teacher is None:
            raise RuntimeError("this method has no teacher")
        return self.teacher

    @property
    def the_centers(self) -> Centers:
        """The centres of a method that has them."""
        if self.centers is None:
            raise RuntimeError("this method has no centres")
        return self.centers


def state_of(student: Trained, teacher: Trained | None, recipe: Recipe, device: torch.device) -> TrainState:
    """A state at step 0 from networks that are ready, all on ``device``."""
    student = student.to(device)
    zeros = torch.zeros(recipe.head.prototypes, device=device)
    return TrainState(
        student=student,
        teacher=None if teacher is None else teacher.to(device).requires_grad_(False).eval(),
        optimizer=build_optimizer(student.named_parameters(), recipe.model.depth, recipe.optimizer),
        centers=None if teacher is None else Centers(zeros, zeros.clone()),
        anchor=[parameter.detach().clone() for parameter in student.encoder.parameters()],
        monitor=Monitor(recipe.health),
    )


def load_whole(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load whole tensors into a network, which may be shared between workers.

    Raises:
        RuntimeError: names or shapes are not the network's.
    """
    held = network.state_dict()
    network.load_state_dict(
        {name: shared_like(tensor, held.get(name, tensor)) for name, tensor in tensors.items()}
    )


def restart(state: TrainState, beginning: TrainState) -> None:
    """Put a state back to its beginning, keeping its modules, which others hold."""
    load_whole(state.student, beginning.student.state_dict())
    if state.teacher is not None:
        load_whole(state.teacher, beginning.the_teacher.state_dict())
    state.optimizer.state.clear()
    state.centers, state.monitor, state.step = beginning.centers, beginning.monitor, 0
