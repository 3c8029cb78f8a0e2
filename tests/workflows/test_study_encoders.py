"""The encoder of an arm that is not trained is what a training of its settings would ship before a step."""

import pytest
import torch
from sam_reference import sam_encoder
from small import small_recipe

from mricore.training.checkpoint import shipped, snapshot
from mricore.training.initial import initial_state
from mricore.workflows.study_encoders import first_network


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    """The path and the tensors of a file as SAM's."""
    path = tmp_path_factory.mktemp("sam") / "sam.pth"
    torch.manual_seed(1)
    tensors = sam_encoder(small_recipe().model).state_dict()
    torch.save({f"image_encoder.{name}": tensor for name, tensor in tensors.items()}, path)
    return path, tensors


@pytest.mark.parametrize("into", ["both", "student", None])
def test_it_is_the_network_that_a_checkpoint_of_step_0_ships(sam, into):
    path, tensors = sam
    given = (f"initial.into={into}", "initial.layout=sam", f"initial.weights={path}") if into else ()
    recipe = small_recipe(*given)
    found = first_network(recipe).state_dict()
    expected = shipped(snapshot(initial_state(recipe, torch.device("cpu"))), recipe).state_dict()
    assert found.keys() == expected.keys()
    assert all(tensor.equal(expected[name]) for name, tensor in found.items())
    # what is shipped is the teacher, which SAM's weights are in only where they are put into both networks
    kernel = next(tensor for name, tensor in found.items() if name.endswith("patch_embed.proj.weight"))
    assert kernel.equal(tensors["patch_embed.proj.weight"]) == (into == "both")


def test_another_seed_is_another_encoder():
    first, same, other = (first_network(small_recipe(f"seed={seed}")).state_dict() for seed in (1, 1, 2))
    name = next(name for name in first if name.endswith("patch_embed.proj.weight"))
    assert first[name].equal(same[name])
    assert not first[name].equal(other[name])
