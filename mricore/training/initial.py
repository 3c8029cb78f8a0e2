"""How a run begins: random weights, or weights of a file in both networks or in the student alone."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import cast

import torch

from mricore.config.schema import Recipe
from mricore.data.plan import Stream, generator
from mricore.model.weights import LoadReport, load_into, read_weights
from mricore.training.methods import method_of
from mricore.training.state import Trained, TrainState, state_of


def initial_state(recipe: Recipe, device: torch.device) -> TrainState:
    """The state before the first step; a pure function of the recipe and of the weights that it names.

    Raises:
        UserError: the weights cannot be had, are others than the recipe's digest says, or do not fit.
    """
    student, _ = initial_network(recipe)
    teacher = None
    if method_of(recipe).has_teacher:
        teacher = _random(recipe, 1) if recipe.initial.into == "student" else copy.deepcopy(student)
    return state_of(student, teacher, recipe, device)


def initial_network(recipe: Recipe) -> tuple[Trained, LoadReport | None]:
    """The student before the first step, and what became of each tensor of its weight file."""
    network = _random(recipe, 0)
    if recipe.initial.layout == "none":
        return network, None
    from mricore.training.initial_files import fetched  # needs what object storage needs

    with tempfile.TemporaryDirectory() as folder:
        path = fetched(recipe.initial, Path(folder))
        weights = read_weights(path, recipe.initial.layout)
    return network, load_into(network, weights, recipe.model)


def _random(recipe: Recipe, number: int) -> Trained:
    """A network with random weights; torch looks at 32 bits of a seed alone, so they are mixed before."""
    seed = int(generator(recipe.seed, Stream.WEIGHTS, number).integers(2**32))
    return cast(Trained, method_of(recipe).network(torch.Generator().manual_seed(seed)))
