"""Spaces of a search: what they may say, and that nothing in them is silently without effect."""

import pytest

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import RECIPES, recipe_named
from mricore.config.search import Dimension, Space, assignments, default_space, load_space
from mricore.errors import UserError


@pytest.mark.parametrize("name", RECIPES)
def test_the_default_space_fits_every_recipe(name):
    recipe = recipe_named(name)
    space = default_space(recipe)
    space.check(recipe)
    low, high = space.settings["optimizer.lr"].range
    assert low < recipe.optimizer.lr < high
    assert ("objective.teacher_momentum" in space.settings) == (recipe.method == "dinov2")


def test_the_shipped_space_is_read_and_fits():
    space = load_space("learning_rate")
    space.check(recipe_named("tiny"))
    assert space.settings["optimizer.lr"].log_uniform == (1e-4, 1e-2)
    assert space.settings["optimizer.weight_decay_end"].choice == (0.1, 0.2, 0.4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[settings]\n'optimizer.rl' = {uniform=[0, 1]}", "valid names: .*optimizer.lr"),
        ("[setting]\n'optimizer.lr' = {uniform=[0, 1]}", "'setting' is unknown"),
        ("[settings]\n'optimizer.lr' = {uniform=[1, 0]}", "must be below the second"),
        ("[settings]\n'optimizer.lr' = {log_uniform=[0, 1]}", "above 0"),
        ("[settings]\n'optimizer.lr' = {uniform=[0, 1], choice=[1, 2]}", "one of uniform"),
        ("[settings]\n'optimizer.lr' = {normal=[0, 1]}", "optimizer.lr"),
        ("[settings]\n'optimizer.lr' = {choice=[1]}", "optimizer.lr"),
        ("[settings]\n", "settings"),
        ("[settings]\n'optimizer.lr' = {uniform=[0.1, 1]}\n[halving]\nreduction = 1.0", "reduction"),
    ],
)
def test_mistakes_in_a_file_are_told_in_one_line(text, told, tmp_path):
    file = tmp_path / "space.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=told) as caught:
        load_space(str(file))
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize(
    ("path", "dimension", "told"),
    [
        ("optimizer.lr", {"uniform": (-1.0, 1.0)}, "greater than 0"),
        ("objective.centering", {"choice": ("sinkhorn", "middle")}, "centering"),
        ("objective.center_momentum", {"uniform": (0.8, 0.85)}, "does nothing with"),
        ("optimizer.nothing", {"uniform": (0.0, 1.0)}, "unknown setting"),
    ],
)
def test_values_that_no_trial_could_use_are_refused_before_any_trial(path, dimension, told):
    space = Space(settings={path: Dimension(**dimension)})
    with pytest.raises(UserError, match=told):
        space.check(recipe_named("tiny"))


def test_settings_become_the_text_that_set_takes():
    settings = {"optimizer.lr": 2e-3, "augment.global_scale": [0.5, 1.0], "objective.centering": "none"}
    recipe = apply_overrides(recipe_named("tiny"), assignments(settings))
    assert (recipe.optimizer.lr, recipe.augment.global_scale) == (2e-3, (0.5, 1.0))
    assert recipe.objective.centering == "none"
