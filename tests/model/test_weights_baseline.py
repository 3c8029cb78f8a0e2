"""Encoders of others behind our interface, with the architecture that their files show."""

import numpy as np
import pytest
import torch
from foreign_weights import (
    PLAIN,
    SAM,
    StockVit,
    meta_registry,
    meta_sam,
    saved,
    stock_head,
    stock_vit,
    teacher_file,
)
from safetensors.torch import load_file

from mricore.config.encoders import sam_vit_b, sam_vit_h, sam_vit_l
from mricore.config.schema import Head, Mae, Model
from mricore.errors import UserError
from mricore.model.baseline import from_weights
from mricore.model.embedder import Embedder
from mricore.model.mae_network import build_mae_network
from mricore.model.network import build_network
from mricore.model.weights import Weights, load_into, read_weights, settings_of
from mricore.model.weights.vit_names import from_vit

SLICES = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(1))
SLICES[:, 0, 0], SLICES[:, 0, 1] = 0, 1  # so that min-max changes nothing


@pytest.mark.parametrize("size", ["vit_b", "vit_l", "vit_h"])
def test_sams_three_sizes_show_in_their_tensors(size):
    with torch.device("meta"):
        state = meta_registry()[size]().image_encoder.state_dict()
    weights = Weights("SAM", "sam", {f"encoder.{name}": tensor for name, tensor in state.items()})
    expected = {"vit_b": sam_vit_b, "vit_l": sam_vit_l, "vit_h": sam_vit_h}[size]()
    assert settings_of(weights) == expected.model_copy(update={"readout": "mean"})


@pytest.mark.parametrize(
    ("dim", "depth", "heads", "patch", "grid"),
    [(384, 12, 6, 14, 37), (768, 12, 12, 16, 14), (1024, 24, 16, 14, 37), (1280, 32, 16, 14, 16)],
    ids=["DINOv2 ViT-S", "MRI-CORE and MAE ViT-B", "DINOv2 ViT-L", "MAE ViT-H"],
)
def test_plain_vits_show_in_their_tensors_but_for_the_heads(dim, depth, heads, patch, grid):
    expected = Model(
        kind="plain",
        dim=dim,
        depth=depth,
        heads=heads,
        patch=patch,
        native_grid=grid,
        readout="class",
    )
    with torch.device("meta"):
        tensors = from_vit(StockVit(expected).state_dict()).tensors
    assert settings_of(Weights("ViT", "dinov2", tensors)) == expected


def test_the_heads_of_an_unusual_plain_vit_must_be_given(tmp_path):
    path = saved(tmp_path, stock_vit().state_dict())
    with pytest.raises(UserError, match="heads"):
        from_weights(path, "dinov2", 24)
    embedder, _ = from_weights(path, "dinov2", 24, heads=4)
    assert embedder.settings == PLAIN


@pytest.mark.numerics
def test_a_sam_file_embeds_as_the_mean_of_normed_patches(tmp_path):
    sam = meta_sam()
    embedder, report = from_weights(saved(tmp_path, sam.state_dict()), "sam", 32)
    assert embedder.settings == SAM
    assert set(report.kept) == {"token.norm.weight", "token.norm.bias"}
    patches = embedder.dense(SLICES).reshape(2, 64, 32)
    normed = (patches - patches.mean(-1, keepdims=True)) / np.sqrt(patches.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(embedder(SLICES), normed.mean(1), atol=1e-5)
    with torch.no_grad():
        expected = sam.image_encoder(embedder.input_norm(SLICES[:, None]))
    np.testing.assert_allclose(embedder.neck(SLICES), expected.numpy(), atol=1e-5)


@pytest.mark.numerics
def test_an_encoder_that_expects_pixels_from_0_to_1_gets_them(tmp_path):
    sam = meta_sam()
    embedder, _ = from_weights(saved(tmp_path, sam.state_dict()), "sam", 32, pixels="unit")
    with torch.no_grad():
        expected = sam.image_encoder(SLICES[:, None].expand(-1, 3, -1, -1))
    np.testing.assert_allclose(embedder.neck(SLICES), expected.numpy(), atol=2e-5)


@pytest.mark.numerics
def test_a_dinov2_teacher_embeds_as_its_class_token(tmp_path):
    vit = stock_vit(mask_token=True)
    path = saved(tmp_path, teacher_file(vit, stock_head()))
    embedder, report = from_weights(path, "mri_core", 24, heads=4)
    assert not report.kept
    assert {note.name.split(".")[0] for note in report.dropped} == {"head", "mask_token"}
    images = torch.rand(2, 24, 24)
    images[:, 0, 0], images[:, 0, 1] = 0, 1
    with torch.no_grad():
        token, patches = vit(embedder.input_norm(images[:, None]))
    np.testing.assert_allclose(embedder(images), token.numpy(), atol=1e-5)
    np.testing.assert_allclose(embedder.dense(images).reshape(2, 36, 32), patches.numpy(), atol=1e-5)


def test_our_own_folder_keeps_its_settings_and_another_compat_can_be_asked_for(tmp_path):
    settings = SAM.model_copy(update={"readout": "attention", "compat": "sam"})
    network = build_network(settings, Head(prototypes=2), torch.Generator().manual_seed(0))
    ours = Embedder.from_network(network, settings, 32)
    ours.save(tmp_path)
    embedder, report = from_weights(tmp_path, "mricore", 32)
    assert embedder.settings == settings
    assert not report.kept
    np.testing.assert_array_equal(embedder(SLICES), ours(SLICES))
    assert from_weights(tmp_path, "mricore", 32, compat="none")[0].settings.compat == "none"


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(tmp_path):
    with pytest.raises(UserError, match="multiple of the patch 4"):
        from_weights(saved(tmp_path, meta_sam().state_dict()), "sam", 30)


@pytest.fixture(scope="module")
def real_vit(real_data):
    """The published ViT-S/14 as an independent network with explicit LayerScale, and its file."""
    path = real_data / "weights" / "dinov2_vits14_imgfocus_fp16.safetensors"
    vit = StockVit(Model(kind="plain", dim=384, heads=6, patch=14, native_grid=37, readout="class"), True)
    vit.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return vit.eval(), path


@pytest.mark.real_data
@pytest.mark.numerics
def test_the_real_dinov2_file_loads_strictly_and_gives_its_own_features(real_vit):
    vit, path = real_vit
    embedder, report = from_weights(path, "dinov2", 518)
    assert (len(report.loaded), len(report.folded)) == (150, 24)
    assert not report.kept
    assert not report.dropped
    images = torch.randn(1, 3, 518, 518, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = vit(images)
        found = embedder.token(embedder.encoder(images))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()  # docs/decisions/0007


@pytest.mark.real_data
def test_the_real_dinov2_file_begins_a_run_at_another_size(real_vit):
    _, path = real_vit
    settings = Model(
        kind="plain", dim=384, heads=6, patch=14, native_grid=16, readout="class", attention="sdpa"
    )
    weights = read_weights(path, "dinov2")
    generator = torch.Generator().manual_seed(0)
    for network in (
        build_network(settings, Head(prototypes=8, hidden=8), generator),
        build_mae_network(settings, Mae(decoder_dim=16, decoder_depth=1, decoder_heads=2), generator),
    ):
        report = load_into(network, weights, settings)
        assert [note.name for note in report.reshaped] == ["encoder.pos_embed"]
        assert not {name for name in report.kept if name.startswith(("encoder.", "token."))}
        with torch.no_grad():
            tokens = network.encoder(torch.randn(2, 3, 98, 98, generator=generator))
        assert torch.isfinite(network.token(tokens)[0]).all()
