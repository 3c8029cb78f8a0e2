"""All scheduled quantities of a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mricore.config.schema import Augment, Optimizer, Recipe
from mricore.objective.schedules import cosine, linear, warmup_cosine

REFERENCE_BATCH = 1024
"""DINOv2 scales the learning rate with the square root of batch size / 1024."""


@dataclass(frozen=True)
class Rates:
    """What the schedules say for one step; ``trunk_scale`` multiplies the encoder's learning rate."""

    lr: float
    weight_decay: float
    teacher_momentum: float
    teacher_temperature: float
    freeze_prototypes: bool
    trunk_scale: float
    global_size: int
    local_size: int

    def logged(self, with_teacher: bool) -> dict[str, float]:
        """For metrics; what concerns the teacher only where there is one."""
        general = {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "trunk_scale": self.trunk_scale,
            "global_size": float(self.global_size),
        }
        teacher = {
            "teacher_momentum": self.teacher_momentum,
            "teacher_temperature": self.teacher_temperature,
        }
        return general | (teacher if with_teacher else {})


def peak_lr(recipe: Recipe) -> float:
    """Base learning rate scaled to the global batch size."""
    return recipe.optimizer.lr * math.sqrt(recipe.train.batch_size / REFERENCE_BATCH)


def rates_at(step: int, total: int, recipe: Recipe, roll_backs: int = 0) -> Rates:
    """Rates of step ``step`` (0-based) in a run of ``total`` steps, which was rolled back so many times."""
    optimizer, objective, train = recipe.optimizer, recipe.objective, recipe.train
    length = total * (train.schedule_epochs or train.epochs) / train.epochs
    warmup = optimizer.warmup_fraction * length
    global_size, local_size = sizes_at(step, total, recipe.augment)
    return Rates(
        lr=recipe.health.roll_back_lr_scale**roll_backs
        * warmup_cosine(step, length, warmup, peak_lr(recipe), optimizer.min_lr),
        weight_decay=cosine(step, length, optimizer.weight_decay, optimizer.weight_decay_end),
        teacher_momentum=cosine(step, length, objective.teacher_momentum, 1.0),
        teacher_temperature=linear(
            step,
            objective.teacher_temperature_warmup_fraction * length,
            objective.teacher_temperature_start,
            objective.teacher_temperature,
        ),
        freeze_prototypes=step < optimizer.freeze_prototypes_fraction * length,
        trunk_scale=_trunk_scale(step, length, optimizer),
        global_size=global_size,
        local_size=local_size,
    )


def sizes_at(step: int, total: int, settings: Augment) -> tuple[int, int]:
    """Sides of global and of local crops in pixels; stages are parts of the run, not of the schedule."""
    for stage in settings.stages:
        if step < stage.until * total:
            return stage.global_size, stage.local_size
    return settings.global_size, settings.local_size


def _trunk_scale(step: int, length: float, settings: Optimizer) -> float:
    """0 while the heads warm up, then rising to 1."""
    frozen = settings.freeze_trunk_fraction * length
    if step < frozen:
        return 0.0
    return linear(step - frozen, settings.ramp_trunk_fraction * length, 0.0, 1.0)
