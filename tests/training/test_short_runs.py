"""What is left of a teacher's first weights, against the moving average itself."""

import numpy as np
import pytest
import torch
from records import small_dataset
from small import small_loop, small_recipe

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import tiny, tiny_mae
from mricore.data.storage import place
from mricore.training.rates import rates_at
from mricore.training.reading import steps_of
from mricore.training.short_runs import first_weights_left, teacher_warning


@pytest.mark.parametrize("steps", [1, 7, 192, 5000])
@pytest.mark.parametrize("settings", [(), ("train.schedule_epochs=16",), ("objective.teacher_momentum=0.5",)])
def test_the_share_is_that_of_a_moving_average_of_numbers(steps, settings):
    recipe = apply_overrides(tiny(), settings)
    teacher = np.float64(1)  # the students are zeros, so all of it are first weights
    for step in range(steps):
        momentum = rates_at(step, steps, recipe).teacher_momentum
        teacher = momentum * teacher
    assert first_weights_left(recipe, steps) == pytest.approx(teacher, rel=0.01, abs=1e-12)


def test_a_teacher_that_is_told_of_is_near_its_beginning(tmp_path):
    """The student is another one from the start, and hardly moves: the teacher shows how far it followed."""
    root = place(str(tmp_path))
    manifest = small_dataset(root, 40)
    recipe = small_recipe("objective.teacher_momentum=0.99", "train.epochs=4", "optimizer.lr=1e-9")
    steps = steps_of(recipe, manifest)
    warning = teacher_warning(recipe, steps)
    loop = small_loop(root, recipe)
    kernel = loop.state.teacher.encoder.patch_embed.proj.weight
    first = kernel.norm()
    with torch.no_grad():
        for parameter in loop.state.student.parameters():
            parameter.mul_(0.9)
    list(loop.run())
    assert loop.state.step == steps
    share = 10 * float(kernel.norm() / first) - 9
    assert share == pytest.approx(first_weights_left(recipe, steps), rel=0.01)
    assert f"after {steps} steps {share:.0%} of the shipped teacher" in warning


def test_the_advice_is_the_largest_momentum_that_does():
    recipe = apply_overrides(tiny(), ["objective.teacher_momentum=0.996"])
    assert teacher_warning(recipe, 480).endswith("--set objective.teacher_momentum=0.99")
    assert teacher_warning(recipe, 300).endswith("--set objective.teacher_momentum=0.98")
    helped = apply_overrides(recipe, ["objective.teacher_momentum=0.98"])
    assert teacher_warning(helped, 300) is None


def test_nothing_is_told_of_long_runs_and_of_those_without_a_teacher():
    assert teacher_warning(tiny(), 10_000) is None
    assert teacher_warning(tiny_mae(), 10) is None


def test_there_is_no_advice_where_no_momentum_helps():
    assert teacher_warning(tiny(), 5).endswith("; train longer")
