"""A run that is interrupted and resumed equals one that is not, bit for bit on a CPU."""

import json

import pytest
import torch
from records import small_dataset
from safetensors.torch import load_file, save_file
from small import losses, small_loop, small_recipe

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.training.checkpoint import (
    STATE,
    TENSORS,
    CheckpointInfo,
    load_checkpoint,
    read_info,
    save_checkpoint,
)
from mricore.training.initial import initial_state

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    small_dataset(target, 75)
    return target


def info(loop, recipe):
    return CheckpointInfo(loop.state.step, loop.steps_per_epoch, "digest", recipe)


def same_state(one, other):
    for left, right in ((one.student, other.student), (one.teacher, other.teacher)):
        for name, tensor in left.state_dict().items():
            assert torch.equal(tensor, right.state_dict()[name]), name
    assert torch.equal(one.centers.image, other.centers.image)
    assert torch.equal(one.centers.patch, other.centers.patch)


@pytest.mark.parametrize("centering", ["center", "sinkhorn"])
def test_five_and_resume_and_five_equals_ten(dataset, tmp_path, centering):
    recipe = small_recipe(f"objective.centering={centering}")
    whole = small_loop(dataset, recipe)
    expected = losses(whole)
    assert len(expected) == whole.total == 10

    first = small_loop(dataset, recipe, stop_after=4)  # in the middle of an epoch and of a window
    trace = losses(first)
    save_checkpoint(tmp_path, first.state, info(first, recipe))
    state = initial_state(recipe, CPU)
    assert load_checkpoint(tmp_path, state).step == 4
    second = small_loop(dataset, recipe, state=state)
    trace |= losses(second)

    assert trace == expected
    same_state(second.state, whole.state)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(dataset):
    runs = [losses(small_loop(dataset, small_recipe(f"seed={seed}"))) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_training_changes_every_parameter_and_the_teacher_follows(dataset):
    recipe = small_recipe()
    loop = small_loop(dataset, recipe)
    losses(loop)
    before = initial_state(recipe, CPU)
    untouched = {
        name
        for (name, parameter), first in zip(
            loop.state.student.named_parameters(), before.student.parameters(), strict=True
        )
        if torch.equal(parameter, first)
    }
    assert untouched == {name for name, _ in before.student.named_parameters() if ".neck." in name}
    distance = [
        sum(
            float((p - q).detach().square().sum())
            for p, q in zip(one.parameters(), two.parameters(), strict=True)
        )
        for one, two in ((loop.state.teacher, before.teacher), (loop.state.student, before.student))
    ]
    assert 0 < distance[0] < distance[1]


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["truncated", "flipped", "no_state", "other_model", "extra_tensor"])
def test_a_damaged_checkpoint_is_one_clear_line(dataset, tmp_path, damage):
    recipe = small_recipe()
    loop = small_loop(dataset, recipe, stop_after=1)
    losses(loop)
    save_checkpoint(tmp_path, loop.state, info(loop, recipe))
    tensors = tmp_path / TENSORS
    content = bytearray(tensors.read_bytes())
    if damage == "truncated":
        tensors.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-10] ^= 1
        tensors.write_bytes(content)
    elif damage == "no_state":
        (tmp_path / STATE).unlink()
    elif damage == "extra_tensor":
        save_file({**load_file(tensors), "student/unknown": torch.zeros(1)}, tensors)
        rehash(tmp_path)
    if damage == "other_model":
        recipe = small_recipe("model.depth=3")
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path, initial_state(recipe, CPU))
    assert "\n" not in str(caught.value)


def rehash(folder):
    import hashlib

    state = json.loads((folder / STATE).read_text())
    state["sha256"] = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
    (folder / STATE).write_text(json.dumps(state))


def test_a_checkpoint_tells_its_position_and_recipe(dataset, tmp_path):
    recipe = small_recipe("seed=7")
    loop = small_loop(dataset, recipe, stop_after=6)
    losses(loop)
    save_checkpoint(tmp_path, loop.state, info(loop, recipe))
    found = read_info(tmp_path)
    assert (found.step, found.epoch, found.recipe) == (6, 1, recipe)
    assert {path.name for path in tmp_path.iterdir()} == {TENSORS, STATE}
