"""Weights of others in our networks: nothing unaccounted for, and the same numbers come out."""

import re

import numpy as np
import pytest
import torch
from foreign_weights import (
    FILES,
    HEAD,
    PLAIN,
    SAM,
    checkpoint_folder,
    chunked,
    dinov2_network,
    mae_file,
    mae_network,
    meta_sam,
    saved,
    stock_head,
    stock_vit,
    teacher_file,
)

from mricore.config.schema import Head
from mricore.model.embedder import Embedder
from mricore.model.network import build_network
from mricore.model.weights import load_into, read_weights

IMAGES = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))


def flat(content):
    """All tensors of a file by name, whatever dictionaries they lie in."""
    tensors = {}
    for name, value in content.items():
        tensors |= flat(value) if isinstance(value, dict) else {name: value}
    return tensors


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("settings", [SAM, PLAIN], ids=["into sam", "into plain"])
@pytest.mark.parametrize("build", [dinov2_network, mae_network], ids=["DINOv2", "MAE"])
def test_every_tensor_of_the_file_and_of_the_network_is_accounted_for(tmp_path, file, settings, build):
    layout, content = FILES[file]()
    network, before = build(settings), build(settings).state_dict()
    report = load_into(network, read_weights(saved(tmp_path, content), layout), settings)
    after = network.state_dict()
    changed = [note.name for note in report.reshaped]
    gone = [note.name for note in (*report.folded, *report.dropped)]
    assert len(flat(content)) == len(report.loaded) + len(changed) + len(gone)
    assert sorted([*report.loaded, *changed, *report.kept]) == sorted(after)
    assert all(note.why for note in (*report.reshaped, *report.folded, *report.dropped))
    assert all(torch.equal(after[name], before[name]) for name in report.kept)
    assert not any(torch.equal(after[name], before[name]) for name in (*report.loaded, *changed))
    for name in (*changed, *gone):
        assert name.split(".")[-1] in str(report) or f"{name.split('.')[0]}.* (" in str(report)


def test_the_report_of_a_sam_file_folds_its_decoder_and_tells_our_own_parts_by_name(tmp_path):
    sam = meta_sam().state_dict()
    report = load_into(dinov2_network(PLAIN), read_weights(saved(tmp_path, sam), "sam"), PLAIN)
    prompt, mask = (sum(name.startswith(part) for name in sam) for part in ("prompt_", "mask_"))
    lines = str(report).splitlines()
    assert re.search(r"sha256 [0-9a-f]{64}, not verifiable", lines[0])
    (decoder,) = (line for line in lines if "SAM's prompt encoder" in line)
    assert decoder.endswith(f"mask decoder: prompt_encoder.* ({prompt}), mask_decoder.* ({mask})")
    assert f"encoder.blocks.*.attn.rel_pos_h ({PLAIN.depth})" in str(report)
    assert "encoder.cls_token" in lines[-1]


@pytest.mark.numerics
def test_a_sam_file_gives_sams_features(tmp_path):
    sam, network = meta_sam(), dinov2_network(SAM)
    report = load_into(network, read_weights(saved(tmp_path, sam.state_dict()), "sam"), SAM)
    assert len(report.loaded) == len(sam.image_encoder.state_dict())
    assert {name.split(".")[0] for name in report.kept} == {"token", "head", "mask_token"}
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        ours = network.encoder.to_neck(network.encoder(images).grid)
        torch.testing.assert_close(ours, sam.image_encoder(images), atol=1e-5, rtol=0)


@pytest.mark.numerics
@pytest.mark.parametrize("chunks", [True, False])
def test_a_dinov2_teacher_gives_its_own_features_and_logits(tmp_path, chunks):
    vit, head, patch_head = stock_vit(mask_token=True), stock_head(), stock_head(seed=6)
    path = saved(tmp_path, teacher_file(vit, head, patch_head, chunks))
    network = dinov2_network(PLAIN, shared=False)
    report = load_into(network, read_weights(path, "mri_core"), PLAIN)
    assert not report.dropped
    assert not report.kept
    masks = torch.rand(2, 36, generator=torch.Generator().manual_seed(0)) < 0.4
    with torch.no_grad():
        expected_token, expected_patches = vit(IMAGES, masks)
        tokens = network.encoder(IMAGES, masks.view(2, 6, 6), network.mask_token)
        token, patches = network.token(tokens)
        torch.testing.assert_close(token, expected_token, atol=1e-5, rtol=0)
        torch.testing.assert_close(patches, expected_patches, atol=1e-5, rtol=0)
        torch.testing.assert_close(network.head(token), head(token), atol=1e-5, rtol=0)
        torch.testing.assert_close(network.patch_head(patches[0]), patch_head(patches[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("key", ["model", "teacher", "student"])
def test_a_dictionary_around_the_weights_is_taken_off_and_its_rest_named(tmp_path, key):
    inner = {f"backbone.{name}": tensor for name, tensor in stock_vit().state_dict().items()}
    path = saved(tmp_path, {key: inner, "iteration": 7})
    report = load_into(dinov2_network(PLAIN), read_weights(path, "mri_core"), PLAIN)
    assert [note.name for note in report.dropped] == ["iteration"]


@pytest.mark.parametrize("change", [{"prototypes": 13}, {"hidden": 8}, {"layers": 2}])
def test_a_head_of_another_size_is_left_out_whole(tmp_path, change):
    path = saved(tmp_path, teacher_file(stock_vit(mask_token=True), stock_head()))
    report = load_into(dinov2_network(PLAIN, **change), read_weights(path, "mri_core"), PLAIN)
    assert {note.name.split(".")[0] for note in report.dropped} == {"head"}
    assert {name.split(".")[0] for name in report.kept} == {"head"}


@pytest.mark.numerics
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_layer_scale_is_folded_exactly(tmp_path, dtype):
    vit = stock_vit(layer_scale=True).to(dtype).float()  # the file's values, whatever it stores them in
    path = saved(tmp_path, {name: tensor.to(dtype) for name, tensor in vit.state_dict().items()})
    network = dinov2_network(PLAIN)
    report = load_into(network, read_weights(path, "dinov2"), PLAIN)
    assert len(report.folded) == 6
    with torch.no_grad():
        token, patches = network.token(network.encoder(IMAGES))
        for ours, expected in zip((token, patches), vit(IMAGES), strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.numerics
def test_an_mae_file_gives_its_encoders_features_and_not_its_decoder(tmp_path):
    vit, network = stock_vit(), mae_network(PLAIN)
    report = load_into(network, read_weights(saved(tmp_path, mae_file(vit)), "mae"), PLAIN)
    assert {note.name.split("_")[0] for note in report.dropped} == {"decoder", "mask"}
    assert {name.split(".")[0] for name in report.kept} == {"decoder"}
    with torch.no_grad():
        _, patches = network.token(network.encoder(IMAGES))
        torch.testing.assert_close(patches, vit(IMAGES)[1], atol=1e-5, rtol=0)


def cubic_matrix(old, new):
    """(new, old): rows of Keys' cubic kernel (a = -1/2), widened by the scale where the grid shrinks."""

    def kernel(x):
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x < 1, near, np.where(x < 2, far, 0))

    scale = max(old / new, 1)
    centres = (np.arange(new) + 0.5) * old / new
    weights = kernel(np.abs(np.arange(old) + 0.5 - centres[:, None]) / scale)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.numerics
@pytest.mark.parametrize("side", [4, 6, 9, 16])
def test_positions_are_resampled_bicubically_and_the_class_token_keeps_its_row(tmp_path, side):
    vit, settings = stock_vit(), PLAIN.model_copy(update={"native_grid": side})
    path = saved(tmp_path, vit.state_dict())
    network = dinov2_network(settings)
    report = load_into(network, read_weights(path, "dinov2"), settings)
    assert len(report.reshaped) == (side != 6)
    matrix = cubic_matrix(6, side)
    table = vit.pos_embed.detach().numpy()[0]
    expected = np.einsum("ih,hwc,jw->ijc", matrix, table[1:].reshape(6, 6, -1), matrix)
    found = network.encoder.pos_embed.detach().numpy()[0]
    np.testing.assert_array_equal(found[0], table[0])
    np.testing.assert_allclose(found[1:].reshape(side, side, -1), expected, atol=1e-5)

    into_sam = SAM.model_copy(update={"native_grid": side})
    network = dinov2_network(into_sam)
    load_into(network, read_weights(path, "dinov2"), into_sam)
    np.testing.assert_allclose(network.encoder.pos_embed.detach().numpy()[0], expected, atol=1e-5)


def test_sam_into_a_plain_encoder(tmp_path):
    sam, network = meta_sam(), dinov2_network(PLAIN)
    report = load_into(network, read_weights(saved(tmp_path, sam.state_dict()), "sam"), PLAIN)
    state = sam.image_encoder.state_dict()
    reasons = {note.name.removeprefix("encoder."): note.why for note in report.dropped}
    assert {name for name in state if "rel_pos" in name or "neck" in name} <= set(reasons)
    assert reasons["blocks.0.attn.rel_pos_h"] == "a plain encoder has no relative positions"
    assert {"encoder.cls_token", "token.norm.weight", "token.norm.bias", "mask_token"} <= set(report.kept)
    assert torch.equal(network.encoder.pos_embed[:, 0], torch.zeros(1, 32))
    assert torch.equal(network.encoder.blocks[1].mlp.lin1.weight, state["blocks.1.mlp.lin1.weight"])


def test_a_plain_vit_into_sams_encoder(tmp_path):
    vit, network = stock_vit(), dinov2_network(SAM)
    report = load_into(network, read_weights(saved(tmp_path, vit.state_dict()), "dinov2"), SAM)
    assert [(note.name, note.why) for note in report.dropped] == [
        ("encoder.cls_token", "SAM's encoder has no class token")
    ]
    assert torch.equal(network.token.norm.weight, vit.norm.weight)
    kept = {name for name in report.kept if name.startswith("encoder.")}
    assert kept == {name for name in network.state_dict() if "rel_pos" in name or ".neck." in name}


@pytest.mark.parametrize("settings", [SAM, PLAIN], ids=["sam", "plain"])
def test_our_own_encoder_and_checkpoint_load_whole(tmp_path, settings):
    teacher, student = dinov2_network(settings), mae_network(settings)
    checkpoint_folder(tmp_path, settings, teacher=teacher, student=student)
    network = build_network(settings, Head(**HEAD), torch.Generator().manual_seed(8))
    report = load_into(network, read_weights(tmp_path, "mricore"), settings)
    assert not report.kept
    assert all(torch.equal(t, network.state_dict()[name]) for name, t in teacher.state_dict().items())
    assert {note.name.split("/")[0] for note in report.dropped} == {"student", "centers"}

    (tmp_path / "encoder").mkdir()
    Embedder.from_network(teacher, settings, 24).save(tmp_path / "encoder")
    report = load_into(mae_network(settings), read_weights(tmp_path / "encoder", "mricore"), settings)
    assert not report.dropped
    assert {name.split(".")[0] for name in report.kept} == {"decoder"}


def test_a_run_without_teacher_gives_its_student(tmp_path):
    student = mae_network(PLAIN)
    checkpoint_folder(tmp_path, PLAIN, student=student)
    network = dinov2_network(PLAIN)
    report = load_into(network, read_weights(tmp_path, "mricore"), PLAIN)
    assert torch.equal(network.encoder.cls_token, student.encoder.cls_token)
    assert {note.name.split(".")[0] for note in report.dropped} == {"decoder", "centers/image"}


def test_the_order_of_chunks_does_not_matter(tmp_path):
    state = stock_vit().state_dict()
    plain, in_chunks = (
        read_weights(saved(tmp_path, content, name), "dinov2").tensors
        for name, content in (("a.pth", state), ("b.pth", dict(reversed(chunked(state).items()))))
    )
    assert plain.keys() == in_chunks.keys()
    assert all(torch.equal(plain[name], in_chunks[name]) for name in plain)
