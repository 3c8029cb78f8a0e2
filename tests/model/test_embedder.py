"""The embedder that users get: slices of any form in, embeddings out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mricore.config.schema import Head, Mae, Model
from mricore.errors import UserError
from mricore.model.embedder import SETTINGS, WEIGHTS, Embedder
from mricore.model.mae_network import build_mae_network
from mricore.model.network import build_network

SIZES = {"dim": 16, "depth": 2, "heads": 2, "patch": 4, "native_grid": 8}
MODEL = Model(window=5, global_blocks=(1,), neck_dim=4, **SIZES)
PLAIN = Model(kind="plain", readout="class", **SIZES)
HEAD = Head(prototypes=12, hidden=16, bottleneck=8)


def network(model=MODEL):
    return build_network(model, HEAD, torch.Generator().manual_seed(0))


def test_a_plain_encoder_gives_its_normalised_class_token_and_patches(tmp_path):
    embedder = Embedder.from_network(network(PLAIN), PLAIN, 24)
    images = torch.rand(3, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    images[:, :, 0, 0], images[:, :, 0, 1] = 0, 1  # so that min-max changes nothing
    with torch.no_grad():
        tokens = embedder.encoder(embedder.input_norm(images))
        expected, patches = (embedder.token.norm(part) for part in (tokens.class_token, tokens.grid))
    np.testing.assert_allclose(embedder(images), expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(embedder.dense(images), patches.numpy(), atol=1e-6)
    embedder.save(tmp_path)
    loaded = Embedder.load(tmp_path)
    assert loaded.settings == PLAIN
    np.testing.assert_array_equal(loaded(images), embedder(images))


def test_what_only_sams_encoder_has_is_refused_of_a_plain_one():
    embedder = Embedder.from_network(network(PLAIN), PLAIN, 24)
    with pytest.raises(UserError, match="plain encoder has no neck"):
        embedder.neck(np.zeros((1, 24, 24)))
    with pytest.raises(UserError, match="plain encoder has no neck"):
        embedder.as_segment_anything()


@pytest.mark.parametrize("model", [MODEL.model_copy(update={"readout": "mean"}), PLAIN])
def test_an_autoencoder_becomes_an_embedder_without_its_decoder(model):
    mae = Mae(decoder_dim=8, decoder_depth=1, decoder_heads=2)
    trained = build_mae_network(model, mae, torch.Generator().manual_seed(0))
    embedder = Embedder.from_network(trained, model, 16)
    kept = {name for name in trained.state_dict() if not name.startswith("decoder.")}
    assert set(embedder.state_dict()) == kept
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    images[:, :, 0, 0], images[:, :, 0, 1] = 0, 1
    everything = torch.arange(16).expand(2, -1)
    with torch.no_grad():
        expected = trained(images, everything, everything[:, :1]).image_tokens
    np.testing.assert_allclose(embedder(images), expected.numpy(), atol=1e-6)


@pytest.mark.numerics
def test_an_encoder_becomes_the_class_of_segment_anything():
    """Every tensor is copied, and both give the same features at the native size."""
    embedder = Embedder.from_network(network(), MODEL, 32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in embedder.encoder.parameters():  # relative positions start at zero
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    twin = embedder.as_segment_anything()
    assert type(twin).__module__ == "segment_anything.modeling.image_encoder"
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    images = torch.rand(2, 32, 32, generator=generator)
    images[:, 0, 0], images[:, 0, 1] = 0, 1  # so that min-max changes nothing
    expected = embedder.neck(images)
    np.testing.assert_allclose(twin(embedder.input_norm(images[:, None])).numpy(), expected, atol=1e-5)


def test_slices_of_any_form_and_scale_embed_alike(tmp_path):
    embedder = Embedder.from_network(network(), MODEL, 24)
    images = np.random.default_rng(0).integers(0, 1000, (3, 40, 30))
    expected = embedder(images)
    assert expected.shape == (3, 16)
    assert expected.dtype == np.float32
    for same in (images.astype(np.uint16), images[:, None], images * 7.0 - 300, torch.from_numpy(images)):
        np.testing.assert_allclose(embedder(same), expected, atol=2e-4)
    np.testing.assert_allclose(embedder(images[1]), expected[1:2], atol=1e-5)
    assert embedder.dense(images).shape == (3, 6, 6, 16)
    assert embedder.neck(images).shape == (3, 4, 6, 6)
    embedder.save(tmp_path)
    np.testing.assert_array_equal(Embedder.load(tmp_path)(images), expected)


def test_an_embedder_normalises_as_in_training(tmp_path):
    images = np.random.default_rng(0).integers(0, 1000, (2, 40, 30)).astype(float)
    images[:, 0, 0] = 9000  # an outlier, which percentiles ignore
    low, high = (np.percentile(images, q, axis=(1, 2), keepdims=True) for q in (0.5, 99.5))
    by_hand = np.clip((images - low) / (high - low), 0, 1)
    made = {
        mode: Embedder.from_network(network(), MODEL, 24, mode) for mode in ("slice", "percentile", "volume")
    }
    np.testing.assert_allclose(made["percentile"](images), made["volume"](by_hand), atol=1e-4)
    assert np.abs(made["slice"](images) - made["percentile"](images)).max() > 1e-3
    with pytest.raises(UserError, match="scaled by their volume"):
        made["volume"](images)
    made["percentile"].save(tmp_path)
    assert Embedder.load(tmp_path).normalization == "percentile"


def test_an_encoder_trained_with_xformers_runs_anywhere():
    settings = MODEL.model_copy(update={"attention": "xformers"})
    trained = build_network(settings, HEAD, torch.Generator().manual_seed(0))
    images = np.random.default_rng(0).random((1, 24, 24))
    expected = Embedder.from_network(network(), MODEL, 24)(images)
    np.testing.assert_array_equal(Embedder.from_network(trained, settings, 24)(images), expected)


def test_unusable_slices_and_folders_are_told(tmp_path):
    embedder = Embedder.from_network(network(), MODEL, 24)
    for wrong in (np.zeros((2, 3, 8, 8)), np.zeros(5), np.full((1, 8, 8), np.nan)):
        with pytest.raises(UserError):
            embedder(wrong)
    with pytest.raises(UserError, match="no mricore encoder"):
        Embedder.load(tmp_path)
    embedder.save(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"x")
    with pytest.raises(UserError):
        Embedder.load(tmp_path)
    (tmp_path / SETTINGS).write_text("{}")
    with pytest.raises(UserError):
        Embedder.load(tmp_path)


def test_slices_are_scaled_one_by_one_resized_with_antialiasing_and_normalised():
    embedder = Embedder.from_network(network(), MODEL, 24)
    images = torch.rand(2, 1, 64, 50, generator=torch.Generator().manual_seed(0)) * 300 - 7
    images[1] *= 50
    scaled = torch.stack([(one - one.min()) / (one.max() - one.min()) for one in images])
    resized = F.interpolate(scaled, (24, 24), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = embedder.encoder((resized - mean) / std).grid
    np.testing.assert_allclose(embedder.dense(images), expected.numpy(), atol=1e-5)
