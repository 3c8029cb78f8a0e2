"""Network, weight files and the embedder that users get."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sam_reference import sam_encoder

from mricore.config.schema import Head, Model
from mricore.errors import UserError
from mricore.model.embedder import SETTINGS, WEIGHTS, Embedder
from mricore.model.network import build_network
from mricore.model.sam_encoder import SamEncoder
from mricore.model.weights import load_sam, load_strictly, read_tensors

MODEL = Model(dim=16, depth=2, heads=2, patch=4, window=5, global_blocks=(1,), native_grid=8, neck_dim=4)
HEAD = Head(prototypes=12, hidden=16, bottleneck=8)


def network(seed=0):
    return build_network(MODEL, HEAD, torch.Generator().manual_seed(seed))


def test_a_network_is_complete_and_a_function_of_its_seed():
    one, two, other = network(0), network(0), network(1)
    assert all(torch.isfinite(parameter).all() for parameter in one.parameters())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.encoder.pos_embed, other.encoder.pos_embed)


def test_the_student_does_not_see_masked_patches_and_the_teacher_does():
    crops = torch.rand(2, 1, 16, 16)
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, 1, 2] = True
    changed = crops.clone()
    changed[0, :, 4:8, 8:12] = 0
    model = network()
    with torch.no_grad():
        student, same = (model(views, masks, None, True) for views in (crops, changed))
        teacher, differs = (model(views, masks, None, False) for views in (crops, changed))
    assert torch.equal(student.image_logits, same.image_logits)
    assert torch.equal(student.patch_logits, same.patch_logits)
    assert not torch.equal(teacher.patch_logits, differs.patch_logits)
    assert teacher.patch_logits.shape == (1, 12)
    assert teacher.image_tokens.shape == (2, 16)


@pytest.mark.parametrize("any_mask", [True, False])
def test_every_trainable_parameter_gets_a_gradient(any_mask):
    model = network()
    masks = torch.zeros(4, 4, 4, dtype=torch.bool)
    masks[:, 0] = any_mask
    out = model(torch.rand(4, 1, 16, 16), masks, torch.rand(6, 1, 8, 8), True)
    (out.image_logits.sum() + out.patch_logits.sum() + out.local_logits.sum()).backward()
    missing = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert missing == {name for name, _ in model.named_parameters() if ".neck." in name}


def test_loading_names_what_does_not_fit():
    encoder = SamEncoder(MODEL)
    tensors = encoder.state_dict()
    for change, told in (
        ({"pos_embed": torch.zeros(1, 2, 2, 16)}, "pos_embed has shape"),
        ({"extra": torch.zeros(1)}, "extra is unknown"),
    ):
        with pytest.raises(UserError, match=told):
            load_strictly(encoder, {**tensors, **change})
    with pytest.raises(UserError, match=r"neck\.0\.weight is missing"):
        load_strictly(encoder, {name: tensor for name, tensor in tensors.items() if name != "neck.0.weight"})


def test_a_sam_checkpoint_loads_with_its_decoder_dropped_by_name(tmp_path):
    reference = sam_encoder(MODEL)
    content = {f"image_encoder.{name}": tensor for name, tensor in reference.state_dict().items()}
    content |= {"prompt_encoder.x": torch.zeros(1), "mask_decoder.y": torch.zeros(1)}
    torch.save(content, tmp_path / "sam_vit.pth")
    encoder = SamEncoder(MODEL).eval()
    report = load_sam(encoder, tmp_path / "sam_vit.pth")
    assert set(report.dropped) == {"prompt_encoder.x", "mask_decoder.y"}
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.to_neck(encoder(images)), reference(images), atol=1e-5, rtol=0)


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


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize(
    "content",
    ids=["pickle", "text", "empty"],
    argvalues=[pickle.dumps({"a": Trap()}, protocol=2), b"nonsense", b""],
)
def test_a_weight_file_can_not_run_code_or_crash(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match="weight file"):
        read_tensors(tmp_path / "w.pth")


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
        expected = embedder.encoder((resized - mean) / std)
    np.testing.assert_allclose(embedder.dense(images), expected.numpy(), atol=1e-5)


def test_a_local_crop_goes_the_way_of_a_global_one():
    crops, none = torch.rand(2, 1, 16, 16), torch.zeros(2, 4, 4, dtype=torch.bool)
    out = network()(crops, none, crops, False)
    torch.testing.assert_close(out.local_logits, out.image_logits)


def test_positions_are_resampled_bicubically_and_keep_their_direction():
    encoder = network().encoder
    channels_first = encoder.pos_embed.detach().permute(0, 3, 1, 2)
    expected = F.interpolate(channels_first, (5, 6), mode="bicubic", antialias=True).permute(0, 2, 3, 1)
    torch.testing.assert_close(encoder.positions(5, 6).detach(), expected)


def test_a_hidden_patch_still_has_its_position():
    model, seen = network(), []
    model.encoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(torch.rand(1, 1, 16, 16), torch.ones(1, 4, 4, dtype=torch.bool), None, True)
    torch.testing.assert_close(seen[0], model.encoder.positions(4, 4) + model.mask_token)


def test_prototypes_are_compared_by_cosine():
    head, features = network().head, torch.randn(3, 16)
    with torch.no_grad():
        inner = features
        for index, layer in enumerate(head.layers):
            inner = layer(F.gelu(inner) if index else inner)
        expected = F.normalize(inner, dim=1) @ F.normalize(head.prototypes, dim=1).T
        torch.testing.assert_close(head(features), expected)
