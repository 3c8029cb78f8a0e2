"""How a run begins: the arms of the paper's ablation, strict about the weights it is given."""

import pytest
import torch
from sam_reference import sam_encoder
from small import MAE, small_recipe

from mricore.errors import UserError
from mricore.training.initial import initial_network, initial_state
from mricore.training.initial_files import digest_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sam_file(tmp_path_factory):
    """A file in SAM's layout for the small encoder, made by Meta's class."""
    path = tmp_path_factory.mktemp("weights") / "sam_vit_small.pth"
    encoder = sam_encoder(small_recipe().model)
    content = {f"image_encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    torch.save(content | {"mask_decoder.x": torch.zeros(1)}, path)
    return path


def recipe_from(sam_file, *assignments):
    return small_recipe("initial.layout=sam", f"initial.weights={sam_file}", *assignments)


def test_sam_begins_both_networks(sam_file):
    state = initial_state(recipe_from(sam_file), CPU)
    written = torch.load(sam_file, weights_only=True)
    for name, tensor in state.student.encoder.state_dict().items():
        assert torch.equal(tensor, written[f"image_encoder.{name}"])
    for name, tensor in state.teacher.state_dict().items():
        assert torch.equal(tensor, state.student.state_dict()[name])


def test_sam_begins_the_student_alone(sam_file):
    state = initial_state(recipe_from(sam_file, "initial.into=student"), CPU)
    random = initial_state(small_recipe(), CPU)
    table = torch.load(sam_file, weights_only=True)["image_encoder.pos_embed"]
    assert torch.equal(state.student.encoder.pos_embed, table)
    for network in (state.student, random.student):
        assert not torch.equal(state.teacher.encoder.pos_embed, network.encoder.pos_embed)


def test_without_weights_all_is_random_and_a_function_of_the_seed():
    same, twin, other = (initial_state(small_recipe(f"seed={seed}"), CPU) for seed in (0, 0, 1))
    assert torch.equal(same.student.encoder.pos_embed, twin.student.encoder.pos_embed)
    assert torch.equal(same.student.encoder.pos_embed, same.teacher.encoder.pos_embed)
    assert not torch.equal(same.student.encoder.pos_embed, other.student.encoder.pos_embed)


def test_a_plain_encoder_and_mae_begin_with_sam_too(sam_file):
    plain = recipe_from(sam_file, "model.kind=plain", "model.readout=class")
    mae = recipe_from(sam_file, *MAE)
    written = torch.load(sam_file, weights_only=True)
    for recipe in (plain, mae):
        network, report = initial_network(recipe)
        weight = network.encoder.blocks[1].mlp.lin1.weight
        assert torch.equal(weight, written["image_encoder.blocks.1.mlp.lin1.weight"])
        assert str(report)


def test_the_report_accounts_for_every_tensor_of_the_file(sam_file):
    _, report = initial_network(recipe_from(sam_file))
    assert "mask_decoder" in str(report)
    assert len(report.loaded) == len(torch.load(sam_file, weights_only=True)) - 1


def test_other_weights_than_the_run_s_are_refused(sam_file):
    right, wrong = digest_of(sam_file), "0" * 64
    initial_network(recipe_from(sam_file, f"initial.sha256={right}"))
    with pytest.raises(UserError, match="another digest"):
        initial_network(recipe_from(sam_file, f'initial.sha256="{wrong}"'))


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        (["initial.layout=sam"], "none are given"),
        (["initial.layout=sam", "initial.weights=nowhere.pth"], "nowhere.pth"),
    ],
)
def test_missing_weights_are_one_clear_line(assignments, told):
    with pytest.raises(UserError, match=told) as caught:
        initial_network(small_recipe(*assignments))
    assert "\n" not in str(caught.value)
