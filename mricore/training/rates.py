"""All scheduled quantities of a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mricore.config.schema import Recipe
from mricore.objective.schedules import cosine, linear, warmup_cosine

REFERENCE_BATCH = 1024
"""DINOv2 scales the learning rate with the square root of batch size / 1024."""


@dataclass(frozen=True)
class Rates:
    """What the schedules say for one step."""

    lr: float
    weight_decay: float
    teacher_momentum: float
    teacher_temperature: float
    freeze_prototypes: bool

    def logged(self) -> dict[str, float]:
        """For metrics."""
        return {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "teacher_momentum": self.teacher_momentum,
            "teacher_temperature": self.teacher_temperature,
        }


def peak_lr(recipe: Recipe) -> float:
    """Base learning rate scaled to the global batch size."""
    return recipe.optimizer.lr * math.sqrt(recipe.train.batch_size / REFERENCE_BATCH)


def rates_at(step: int, total: int, recipe: Recipe) -> Rates:
    """Rates of step ``step`` (0-based) in a run of ``total`` steps."""
    optimizer, objective = recipe.optimizer, recipe.objective
    warmup = optimizer.warmup_fraction * total
    return Rates(
        lr=warmup_cosine(step, total, warmup, peak_lr(recipe), optimizer.min_lr),
        weight_decay=cosine(step, total, optimizer.weight_decay, optimizer.weight_decay_end),
        teacher_momentum=cosine(step, total, objective.teacher_momentum, 1.0),
        teacher_temperature=linear(
            step,
            objective.teacher_temperature_warmup_fraction * total,
            objective.teacher_temperature_start,
            objective.teacher_temperature,
        ),
        freeze_prototypes=step < optimizer.freeze_prototypes_fraction * total,
    )
