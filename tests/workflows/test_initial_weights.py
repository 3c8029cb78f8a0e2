"""Weights of a run: kept beside it, known by their digest wherever they come from."""

import shutil
from pathlib import Path

import pytest
import torch
from records import small_dataset
from sam_reference import sam_encoder
from servers import s3_server
from small import small_recipe

from mricore.config.overrides import apply_overrides
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.model.embedder import Embedder
from mricore.training.initial import initial_network, initial_state
from mricore.training.initial_files import digest_of
from mricore.training.launch import run_name
from mricore.workflows.initial import origin, with_weights


@pytest.fixture(scope="module")
def sam_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sam_vit_small.pth"
    tensors = sam_encoder(small_recipe().model).state_dict()
    torch.save({f"image_encoder.{name}": tensor for name, tensor in tensors.items()}, path)
    return path


def recipe_of(path, layout="sam"):
    return apply_overrides(small_recipe(), [f"initial.layout={layout}", f"initial.weights={path}"])


def test_a_run_keeps_its_weights_and_is_the_same_run_wherever_they_came_from(sam_file, tmp_path, capsys):
    outputs = place(str(tmp_path / "outputs"))
    moved = tmp_path / "elsewhere" / "renamed.pth"
    moved.parent.mkdir()
    shutil.copy(sam_file, moved)
    manifest = small_dataset(place(str(tmp_path / "dataset")), 20)
    made = [with_weights(recipe_of(path), outputs) for path in (sam_file, moved)]
    assert run_name(made[0], manifest) == run_name(made[1], manifest)
    assert run_name(made[0], manifest) != run_name(small_recipe(), manifest)
    moved.unlink()
    network, _ = initial_network(made[1])
    assert torch.equal(network.encoder.pos_embed, sam_encoder(small_recipe().model).pos_embed)
    assert "loaded" in capsys.readouterr().out


def test_a_copy_that_was_damaged_is_made_anew(sam_file, tmp_path):
    outputs = place(str(tmp_path / "outputs"))
    kept = with_weights(recipe_of(sam_file), outputs).initial.weights
    with Path(kept).open("r+b") as file:
        file.write(b"damaged")
    again = with_weights(recipe_of(sam_file), outputs)
    assert again.initial.weights == kept
    initial_network(again)


@pytest.mark.servers
def test_weights_travel_through_a_bucket(sam_file, tmp_path, monkeypatch):
    import boto3

    with s3_server(tmp_path / "s3") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="mri")
        there = with_weights(recipe_of(sam_file), place("s3://mri/outputs"))
        assert there.initial.weights.startswith("s3://mri/outputs/weights/")
        network, _ = initial_network(there)
        again = with_weights(recipe_of(there.initial.weights), place("s3://mri/elsewhere"))
    assert again.initial.sha256 == there.initial.sha256
    assert torch.equal(network.encoder.pos_embed, sam_encoder(small_recipe().model).pos_embed)


def test_an_encoder_of_ours_begins_a_run(tmp_path):
    recipe = small_recipe()
    source = initial_state(apply_overrides(recipe, ["seed=5"]), torch.device("cpu")).teacher
    folder = tmp_path / "encoder"
    folder.mkdir()
    Embedder.from_network(source, recipe.model, 32).save(folder)
    begun = with_weights(recipe_of(folder, "mricore"), place(str(tmp_path / "outputs")))
    network, _ = initial_network(begun)
    for name, tensor in source.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], tensor)
    assert torch.equal(network.token.pool.query, source.token.pool.query)
    assert not torch.equal(network.head.prototypes, source.head.prototypes)


def test_weights_that_do_not_fit_are_told_before_anything_is_written(sam_file, tmp_path):
    recipe = apply_overrides(recipe_of(sam_file), ["model.dim=48"])
    with pytest.raises(UserError, match=r"model\.dim"):
        with_weights(recipe, place(str(tmp_path / "outputs")))
    assert not (tmp_path / "outputs").exists()


def test_the_card_knows_what_a_run_began_with(sam_file):
    initial = recipe_of(sam_file).initial.model_copy(update={"sha256": digest_of(sam_file)})
    name, licence = origin(initial)
    assert digest_of(sam_file)[:16] in name
    assert "publisher" in licence
    published = initial.model_copy(update={"weights": "/some/where/sam_vit_b_01ec64.pth"})
    assert origin(published) == (f"sam_vit_b_01ec64.pth, sha256 {initial.sha256[:16]}", "Apache-2.0")
    assert origin(small_recipe().initial) == ("random", "none needed")
