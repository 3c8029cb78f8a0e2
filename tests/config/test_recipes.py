"""Recipes say what the paper and the field say, and settings that would do nothing are refused."""

import pytest

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import (
    RECIPES,
    paper_literal,
    tiny,
    tiny_mae,
    vitb16_curriculum,
    vitb16_mri,
    vith16_mri,
    vitl16_mri,
)
from mricore.errors import UserError


def test_the_literal_paper_has_the_faults_of_the_published_code_and_no_other_recipe_has():
    literal = paper_literal()
    assert literal.augment.blur_probability == (0.0, 0.9, 0.5)
    assert (literal.train.epochs, literal.train.schedule_epochs) == (4, 100)
    assert (literal.model.kind, literal.model.native_grid, literal.model.readout) == ("plain", 14, "class")
    assert (literal.objective.centering, literal.head.prototypes, literal.head.shared) == (
        "center",
        65536,
        True,
    )
    for name in set(RECIPES) - {"paper_literal", "tiny_mae", "vitb16_mae"}:
        recipe = RECIPES[name]()
        assert recipe.augment.blur_probability == (1.0, 0.1, 0.5)
        assert recipe.train.schedule_epochs is None


def test_the_curriculum_begins_small_and_ends_large():
    augment = vitb16_curriculum().augment
    sizes = [*(stage.global_size for stage in augment.stages), augment.global_size]
    assert sizes == sorted(sizes)
    assert sizes[0] < vitb16_mri().augment.global_size < sizes[-1]


def test_larger_encoders_differ_from_the_base_in_size_alone():
    size = {"dim", "depth", "heads", "global_blocks"}
    for recipe in (vitl16_mri(), vith16_mri()):
        same = recipe.model_dump(exclude={"name": True, "model": size})
        assert same == vitb16_mri().model_dump(exclude={"name": True, "model": size})


@pytest.mark.parametrize(
    ("recipe", "assignments", "reason"),
    [
        (tiny, ["mae.mask_ratio=0.5"], "method=dinov2"),
        (tiny_mae, ["head.prototypes=64"], "method=mae"),
        (tiny_mae, ["augment.local_crops=2"], "method=mae"),
        (paper_literal, ["model.window=7"], "model.kind=plain"),
        (tiny, ["objective.center_momentum=0.5"], "objective.centering=sinkhorn"),
        (tiny, ["initial.weights=x.pth"], "initial.layout=none"),
        (tiny, ["train.workers=1", "train.parallel=fsdp"], "train.workers=1"),
        (tiny, ["train.keep_best=2"], "train.validate_steps=0"),
        (
            tiny,
            ["augment.foreground_candidates=1", "augment.foreground_share=0.5"],
            "foreground_candidates=1",
        ),
    ],
)
def test_a_setting_that_does_nothing_is_refused(recipe, assignments, reason):
    with pytest.raises(UserError, match="does nothing with") as caught:
        apply_overrides(recipe(), assignments)
    assert reason in str(caught.value)


def test_a_setting_is_not_idle_once_its_other_is_set():
    changed = apply_overrides(tiny(), ["objective.center_momentum=0.5", "objective.centering=center"])
    assert changed.objective.center_momentum == 0.5


@pytest.mark.parametrize(
    ("recipe", "assignment", "told"),
    [
        (tiny, "model.readout=class", "no class token"),
        (paper_literal, "model.readout=attention", "pools nothing by attention"),
        (tiny, "method=mae", "trains no attention pooling"),
        (tiny_mae, "augment.global_size=128", "must fit into model.window"),
        (tiny_mae, "augment.noise_probability=0.1", "would learn to make blur and noise"),
        (tiny, "augment.global_size=8", "at least two patches"),
        (tiny, "model.patch=7", r"augment\.global_size 96 must be a multiple"),
        (tiny, "name=../../x", "name"),
        (tiny, "tracking.alias=v1", "MLflow keeps"),
        (tiny, "tracking.model_name=a/b", "tracking.model_name"),
        (tiny, "train.schedule_epochs=2", "must not be below train.epochs"),
        (tiny, "train.min_workers=99", "must not be above train.workers"),
        (
            tiny,
            'augment.stages=[{"until":0.5,"global_size":60,"local_size":48}]',
            r"stages\[0\].global_size 60 must be a multiple of model.patch",
        ),
        (
            tiny,
            'augment.stages=[{"until":0.5,"global_size":64,"local_size":48},'
            '{"until":0.2,"global_size":96,"local_size":48}]',
            "one after the other",
        ),
        (tiny, "objective.teacher_temperature=0", "greater than 0"),
    ],
)
def test_settings_that_contradict_each_other_are_one_clear_line(recipe, assignment, told):
    with pytest.raises(UserError, match=told) as caught:
        apply_overrides(recipe(), [assignment])
    assert "\n" not in str(caught.value)
