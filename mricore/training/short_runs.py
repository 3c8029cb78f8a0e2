"""Whether a run is long enough for its teacher, whose weights it ships; known before the first step."""

from __future__ import annotations

import math

from mricore.config.schema import Recipe
from mricore.training.methods import method_of
from mricore.training.rates import rates_at

MOST_LEFT = 0.1
"""More of the first weights than this in what is shipped is told. Found on a continuation of 192 steps at a
momentum of 0.996, whose teacher kept 68% of them and moved a sixth as far as its student (docs/log.md)."""
SMALLER = (0.99, 0.98, 0.95, 0.9)
"""Momenta to advise."""
SAMPLES = 1000


def first_weights_left(recipe: Recipe, steps: int) -> float:
    """Share of the teacher's first weights in the teacher after ``steps``: the product of all momenta.

    The teacher is a moving average of students (arXiv 2104.14294), which the first weights begin.
    """
    count = max(min(steps, SAMPLES), 1)
    momenta = (
        rates_at(int((number + 0.5) * steps / count), steps, recipe).teacher_momentum
        for number in range(count)
    )
    return math.prod(momentum ** (steps / count) for momentum in momenta)


def teacher_warning(recipe: Recipe, steps: int) -> str | None:
    """A line for those whose teacher would hardly leave where it began, with the remedy."""
    if not method_of(recipe).has_teacher:
        return None
    left = first_weights_left(recipe, steps)
    if left <= MOST_LEFT:
        return None
    return (
        f"short run: after {steps:,} steps {left:.0%} of the shipped teacher are still its first weights; "
        f"train longer{_advice(recipe, steps)}"
    )


def _advice(recipe: Recipe, steps: int) -> str:
    """The largest smaller momentum that would do, if any does."""
    for momentum in SMALLER:
        objective = recipe.objective.model_copy(update={"teacher_momentum": momentum})
        if (
            momentum < recipe.objective.teacher_momentum
            and first_weights_left(recipe.model_copy(update={"objective": objective}), steps) <= MOST_LEFT
        ):
            return f", or lower --set objective.teacher_momentum={momentum:g}"
    return ""
