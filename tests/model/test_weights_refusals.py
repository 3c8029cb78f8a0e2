"""Weights that do not fit: one line that names the first problem, and a remedy that works."""

import json
import re

import pytest
import torch
from foreign_weights import (
    FILES,
    HEAD,
    PLAIN,
    SAM,
    checkpoint_folder,
    dinov2_network,
    mae_file,
    meta_sam,
    saved,
    stock_head,
    stock_vit,
    teacher_file,
)

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import tiny
from mricore.config.schema import Head, Model
from mricore.errors import UserError
from mricore.model.baseline import from_weights
from mricore.model.embedder import Embedder
from mricore.model.network import build_network
from mricore.model.weights import load_into, read_weights

SAME_NAMES = {("dinov2", "mri_core"), ("dinov2", "mae")}
"""Bare names are DINOv2's in all three."""


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("layout", ["sam", "mri_core", "dinov2", "mae"])
def test_the_wrong_layout_is_refused_and_the_right_one_named(tmp_path, file, layout):
    right, content = FILES[file]()
    path = saved(tmp_path, content)
    if layout == right or (right, layout) in SAME_NAMES:
        load_into(dinov2_network(PLAIN), read_weights(path, layout), PLAIN)
        return
    with pytest.raises(UserError, match=f"layout {right}"):
        read_weights(path, layout)


OTHERS = {
    "sam": SAM.model_copy(update={"dim": 64, "depth": 4, "neck_dim": 64, "global_blocks": (0, 3)}),
    "plain": PLAIN.model_copy(update={"dim": 64, "depth": 2, "patch": 8}),
    "other window": SAM.model_copy(update={"window": 3}),
    "other grid": SAM.model_copy(update={"native_grid": 16}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_settings_that_a_file_needs_are_told_as_arguments_that_work(tmp_path, name):
    settings = OTHERS[name]
    if settings.kind == "sam":
        path, layout, start = saved(tmp_path, meta_sam(settings).state_dict()), "sam", SAM
    else:
        path, layout, start = saved(tmp_path, stock_vit(settings).state_dict()), "dinov2", PLAIN
    weights = read_weights(path, layout)
    with pytest.raises(UserError, match="other settings") as caught:
        load_into(dinov2_network(start), weights, start)
    recipe = tiny().model_copy(update={"model": start})
    told = re.findall(r"--set ([^ ;]+)", caught.value.remedy)
    model = apply_overrides(recipe, told).model
    assert ("crop sizes" in caught.value.remedy) == (settings.patch != start.patch)
    assert "sha256" not in str(caught.value)
    load_into(build_network(model, Head(**HEAD), torch.Generator().manual_seed(0)), weights, model)


def test_a_wrong_number_of_heads_is_told_although_all_shapes_fit(tmp_path):
    sam = read_weights(saved(tmp_path, meta_sam().state_dict()), "sam")
    wrong = PLAIN.model_copy(update={"heads": 8})
    with pytest.raises(UserError, match=r"model\.heads=4"):
        load_into(dinov2_network(wrong), sam, wrong)
    small = PLAIN.model_copy(update={"dim": 192, "heads": 3, "depth": 1})  # ViT-Ti: widths tell the heads
    vit = read_weights(saved(tmp_path, stock_vit(small).state_dict()), "dinov2")
    wrong = small.model_copy(update={"heads": 12})
    with pytest.raises(UserError, match=r"model\.heads=3"):
        load_into(dinov2_network(wrong), vit, wrong)


def broken(change):
    state = stock_vit().state_dict()
    change(state)
    return state


FAULTS = {
    "norm.weight is missing": lambda state: state.pop("norm.weight"),
    "blocks.1.attn.proj.bias is missing": lambda state: state.pop("blocks.1.attn.proj.bias"),
    "fc_norm.weight is unknown": lambda state: state.update({"fc_norm.weight": torch.ones(32)}),
    "is a second encoder.blocks.0.norm1.bias": lambda state: state.update(
        {"blocks.0.0.norm1.bias": torch.ones(32)}
    ),
    "has shape (33,) instead of (32,)": lambda state: state.update({"norm.bias": torch.ones(33)}),
    "holds no real numbers": lambda state: state.update({"norm.bias": torch.ones(32, dtype=torch.int64)}),
    "no square grid": lambda state: state.update({"pos_embed": torch.ones(1, 36, 32)}),
    "register tokens": lambda state: state.update({"register_tokens": torch.ones(1, 4, 32)}),
    "SwiGLU": lambda state: state.update({"blocks.0.mlp.w12.weight": torch.ones(4, 32)}),
    "scales a layer": lambda state: state.update({"blocks.7.ls1.gamma": torch.ones(32)}),
    "is no tensor": lambda state: state.update({"epoch": 3}),
}


@pytest.mark.parametrize("told", FAULTS)
def test_whatever_is_unexplained_is_refused_and_nothing_is_loaded(tmp_path, told):
    path = saved(tmp_path, broken(FAULTS[told]))
    network, before = dinov2_network(PLAIN), dinov2_network(PLAIN).state_dict()
    with pytest.raises(UserError) as caught:
        load_into(network, read_weights(path, "dinov2"), PLAIN)
    assert told in caught.value.problem
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("settings", [SAM, PLAIN], ids=["into sam", "into plain"])
@pytest.mark.parametrize("layout", ["sam", "dinov2"])
@pytest.mark.parametrize("name", ["blocks.1.mlp.{}1.bias", "patch_embed.proj.bias", "pos_embed"])
def test_a_file_that_has_lost_a_tensor_is_refused_by_either_encoder(tmp_path, settings, layout, name):
    state = meta_sam().state_dict() if layout == "sam" else stock_vit().state_dict()
    gone = f"image_encoder.{name.format('lin')}" if layout == "sam" else name.format("fc")
    del state[gone]
    with pytest.raises(UserError, match=f"encoder.{name.format('lin')} is missing"):
        load_into(dinov2_network(settings), read_weights(saved(tmp_path, state), layout), settings)


@pytest.mark.faults
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nan_and_infinity_are_refused_by_name_and_nothing_is_loaded(tmp_path, value, dtype):
    state = {name: tensor.to(dtype) for name, tensor in stock_vit().state_dict().items()}
    state["blocks.1.mlp.fc1.weight"][3, 1] = value
    path = saved(tmp_path, state)
    network, before = dinov2_network(PLAIN), dinov2_network(PLAIN).state_dict()
    for load in (
        lambda: load_into(network, read_weights(path, "dinov2"), PLAIN),
        lambda: from_weights(path, "dinov2", 24, heads=PLAIN.heads),
    ):
        with pytest.raises(
            UserError, match=r"NaN or infinity.*encoder\.blocks\.1\.mlp\.lin1\.weight"
        ) as caught:
            load()
        assert caught.value.remedy == "fetch the file again"
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_folder_where_a_file_is_wanted_and_the_reverse_are_told_with_the_layout(tmp_path):
    embedder = Embedder.from_network(dinov2_network(PLAIN), PLAIN, 24)
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    embedder.save(tmp_path / "ours")
    with pytest.raises(UserError, match=r"folder that mricore wrote.*layout mricore"):
        read_weights(tmp_path / "ours", "sam")
    with pytest.raises(UserError, match="is a folder; layout sam wants a file, mricore a folder"):
        read_weights(tmp_path / "theirs", "sam")
    with pytest.raises(UserError, match=r"is a file; layout mricore wants a folder.*mri_core"):
        read_weights(saved(tmp_path, stock_vit().state_dict()), "mricore")


def test_sams_decoder_alone_is_no_encoder(tmp_path):
    state = {name: t for name, t in meta_sam().state_dict().items() if not name.startswith("image_encoder.")}
    with pytest.raises(UserError, match=r"patch_embed\.proj\.weight is missing"):
        read_weights(saved(tmp_path, state), "sam")


@pytest.mark.faults
def test_a_damaged_checkpoint_of_ours_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no weights of mricore"):
        read_weights(tmp_path, "mricore")
    checkpoint_folder(tmp_path, PLAIN, teacher=dinov2_network(PLAIN))
    content = bytearray((tmp_path / "tensors.safetensors").read_bytes())
    content[-5] ^= 1  # a weight, which no reader would notice
    (tmp_path / "tensors.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="digest"):
        read_weights(tmp_path, "mricore")
    for document in ("{", json.dumps([1]), json.dumps({"recipe": {}})):
        (tmp_path / "state.json").write_text(document)
        with pytest.raises(UserError, match=r"damaged|another format"):
            read_weights(tmp_path, "mricore")
    checkpoint_folder(tmp_path, PLAIN)
    with pytest.raises(UserError, match="holds no network"):
        read_weights(tmp_path, "mricore")


def test_the_released_files_layout_has_no_place_in_a_model_of_another_patch(tmp_path):
    path = saved(tmp_path, teacher_file(stock_vit(mask_token=True), stock_head()))
    other = Model(kind="plain", dim=32, depth=3, heads=4, patch=8, native_grid=6, readout="class")
    with pytest.raises(UserError, match=r"model\.patch=4"):
        load_into(dinov2_network(other), read_weights(path, "mri_core"), other)


def test_an_mae_file_without_its_key_is_told_from_dinov2s_by_its_decoder(tmp_path):
    with pytest.raises(UserError, match="layout mae"):
        read_weights(saved(tmp_path, mae_file(stock_vit())["model"]), "dinov2")
