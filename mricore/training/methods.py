"""The methods by name."""

from __future__ import annotations

from mricore.config.schema import Recipe
from mricore.training.dinov2 import Dinov2
from mricore.training.mae import MaskedAutoencoder
from mricore.training.method import Method


def method_of(recipe: Recipe) -> Method:
    """The method that a recipe names."""
    return Dinov2(recipe) if recipe.method == "dinov2" else MaskedAutoencoder(recipe)
