"""Everything that training changes, and how it begins."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from mricore.config.schema import Recipe
from mricore.model.network import Network, build_network
from mricore.objective.dinov2 import Centers
from mricore.training.optimizer import build_optimizer


@dataclass
class TrainState:
    """Student, teacher (its moving average), optimiser, centres, and the number of steps done."""

    student: Network
    teacher: Network
    optimizer: torch.optim.Optimizer
    centers: Centers
    step: int = 0


def initial_network(recipe: Recipe) -> Network:
    """The network before the first step; a pure function of the recipe."""
    generator = torch.Generator().manual_seed(recipe.seed)
    return build_network(recipe.model, recipe.head, generator)


def initial_state(recipe: Recipe, device: torch.device) -> TrainState:
    """Teacher equal to student, zero centres, step 0, all on ``device``."""
    student = initial_network(recipe).to(device)
    teacher = copy.deepcopy(student).requires_grad_(False).eval()
    zeros = torch.zeros(recipe.head.prototypes, device=device)
    return TrainState(
        student=student,
        teacher=teacher,
        optimizer=build_optimizer(student.named_parameters(), recipe.model.depth, recipe.optimizer),
        centers=Centers(zeros, zeros.clone()),
    )
