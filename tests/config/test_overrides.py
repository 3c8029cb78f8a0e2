import json

import pytest

from mricore.config.overrides import apply_overrides, setting_paths, validated
from mricore.config.recipes import RECIPES, recipe_named, tiny
from mricore.errors import UserError


def test_an_override_changes_one_setting_and_nothing_else():
    changed = apply_overrides(
        tiny(), ["optimizer.lr=1e-4", "data.normalization=volume", "augment.mask_ratio=[0.2,0.3]"]
    )
    assert changed.optimizer.lr == 1e-4
    assert changed.data.normalization == "volume"
    assert changed.augment.mask_ratio == (0.2, 0.3)
    undone = apply_overrides(
        changed,
        [f"optimizer.lr={tiny().optimizer.lr}", "data.normalization=slice", "augment.mask_ratio=[0.1,0.5]"],
    )
    assert undone == tiny()


def test_an_unknown_path_is_refused_with_the_valid_names():
    with pytest.raises(UserError) as caught:
        apply_overrides(tiny(), ["optimizer.learning_rate=1"])
    assert "optimizer.learning_rate" in caught.value.problem
    for name in ("optimizer.lr", "optimizer.weight_decay", "optimizer.clip_norm"):
        assert name in caught.value.remedy


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("train.epochs=0", "train.epochs"),
        ("train.epochs=many", "train.epochs"),
        ("data.source=webdataset", "data.source"),
        ("optimizer.lr=NaN", "optimizer.lr"),
        ("model.heads=5", "model"),
        ("train.workers=3", "recipe"),
        ("optimizer.lr", "optimizer.lr"),
        ("model=1", "model"),
    ],
)
def test_a_wrong_value_is_one_clear_line(assignment, named):
    with pytest.raises(UserError) as caught:
        apply_overrides(tiny(), [assignment])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json_and_says_where_it_comes_from(name):
    recipe = recipe_named(name)
    assert recipe.name == name
    assert validated(json.loads(recipe.model_dump_json())) == recipe
    docstring = RECIPES[name].__doc__
    for word in ("Source:", "Command:", "Hardware and time:", "Score:"):
        assert word in docstring


def test_settings_are_frozen_and_every_path_can_be_set():
    with pytest.raises(ValueError, match="frozen"):
        tiny().train.epochs = 5
    document = tiny().model_dump(mode="json")
    for path in setting_paths():
        value = document
        for part in path.split("."):
            value = value[part]
        assert apply_overrides(tiny(), [f"{path}={json.dumps(value)}"]) == tiny()


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UserError, match="tiny"):
        recipe_named("huge")
