"""What a user writes becomes the encoder that was asked for, and only that."""

import numpy as np
import pytest
import torch
from foreign_weights import (
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

from mricore.config.recipes import tiny
from mricore.errors import UserError
from mricore.evaluation.contenders import Spec, digest_of, opened, parsed, with_decoder
from mricore.model.baseline import from_weights
from mricore.model.embedder import Embedder

SLICES = np.random.default_rng(3).random((2, 40, 30), np.float32)


def only(text, others=None, seed=0):
    return opened(parsed([text])[0], seed, others or {})


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("SAM=sam:a/sam_vit_b.pth", Spec("SAM", "sam", "a/sam_vit_b.pth")),
        ("sam:a.pth", Spec("sam", "sam", "a.pth")),
        ("base line=random:SAM", Spec("base line", "random", "SAM")),
        ("d=dinov2:x.pth?heads=4", Spec("d", "dinov2", "x.pth", 4)),
        ("mricore:runs/lr=1e-4", Spec("mricore", "mricore", "runs/lr=1e-4")),
        ("ours=models:/m@champion", Spec("ours", "models", "models:/m@champion")),
        ("models:/m/3", Spec("m-3", "models", "models:/m/3")),
    ],
)
def test_what_is_written_names_kind_and_file(text, spec):
    assert parsed([text]) == [spec]


@pytest.mark.parametrize(
    "text", ["sam", "x=what:file", "sam:", "=sam:file", "a/b=c", "a\tb=sam:file", "nothing=", ""]
)
def test_what_names_no_encoder_is_refused_with_the_way_to_write_it(text):
    with pytest.raises(UserError) as caught:
        parsed([text])
    assert "\n" not in str(caught.value)


def test_two_encoders_of_one_name_are_refused():
    with pytest.raises(UserError, match="two encoders are named 'a'"):
        parsed(["a=sam:x", "a=mae:y"])


def test_sam_keeps_its_decoder_and_has_its_own_size(tmp_path):
    sam = meta_sam()
    contender = only(f"S=sam:{saved(tmp_path, sam.state_dict())}")
    assert contender.embedder.image_size == SAM.native_grid * SAM.patch
    expected = {
        name: tensor
        for name, tensor in sam.state_dict().items()
        if name.startswith(("prompt_encoder.", "mask_decoder."))
    }
    assert set(contender.decoder) == set(expected)
    assert all(torch.equal(contender.decoder[name], tensor) for name, tensor in expected.items())
    assert contender.origin.startswith("sam, sha256 ")
    assert str(tmp_path) not in contender.origin


def test_the_encoder_of_sam_alone_has_no_decoder(tmp_path):
    state = {
        f"image_encoder.{name}": tensor for name, tensor in meta_sam().image_encoder.state_dict().items()
    }
    assert only(f"sam:{saved(tmp_path, state)}").decoder == {}


def test_medsam_sees_grey_values_in_0_to_1_and_sam_imagenets(tmp_path):
    path = saved(tmp_path, meta_sam().state_dict())
    sam, medsam = only(f"sam:{path}"), only(f"medsam:{path}")
    assert sam.digest != medsam.digest
    expected = from_weights(path, "sam", 32, pixels="unit")[0]
    np.testing.assert_array_equal(medsam.embedder(SLICES), expected(SLICES))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("mri_core", lambda: teacher_file(stock_vit(mask_token=True), stock_head())),
        ("dinov2", lambda: stock_vit(layer_scale=True, mask_token=True).state_dict()),
        ("mae", lambda: mae_file(stock_vit())),
    ],
)
def test_plain_files_of_others_open_with_the_heads_that_are_told(kind, content, tmp_path):
    path = saved(tmp_path, content())
    contender = only(f"x={kind}:{path}?heads=4")
    expected = from_weights(path, kind, 24, heads=4)[0]
    np.testing.assert_array_equal(contender.embedder(SLICES), expected(SLICES))
    assert contender.embedder.settings.kind == "plain"


def test_a_folder_of_mricore_opens_as_it_was_saved(tmp_path):
    network = dinov2_network(SAM)
    Embedder.from_network(network, SAM, 40, "percentile").save(tmp_path)
    contender = only(f"mricore:{tmp_path}")
    assert (contender.embedder.image_size, contender.embedder.normalization) == (40, "percentile")
    np.testing.assert_array_equal(contender.embedder(SLICES), Embedder.load(tmp_path)(SLICES))


def test_a_checkpoint_of_a_run_opens_with_the_teacher_at_the_size_of_training(tmp_path):
    teacher = dinov2_network(SAM)
    checkpoint_folder(tmp_path, SAM, teacher=teacher, student=dinov2_network(SAM.model_copy()))
    contender = only(f"mricore:{tmp_path}")
    size = tiny().augment.global_size
    expected = Embedder.from_network(teacher, SAM, size)
    np.testing.assert_allclose(contender.embedder(SLICES), expected(SLICES), atol=1e-5)


def test_a_random_encoder_is_one_of_its_seed_and_of_another_contenders_architecture(tmp_path):
    sam = only(f"sam:{saved(tmp_path, meta_sam().state_dict())}")
    others = {"sam": sam.embedder}
    first, again, other = (only("r=random:sam", others, seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert first.embedder.settings == sam.embedder.settings
    assert first.embedder.image_size == sam.embedder.image_size
    assert first.decoder == {}
    assert np.isfinite(first.embedder(SLICES)).all()
    assert first.origin == "random, seed 0"
    recipe = only("random:tiny")
    assert recipe.embedder.settings.dim == tiny().model.dim


def test_sams_decoder_goes_to_pretrained_encoders_that_have_none(tmp_path):
    path = saved(tmp_path, meta_sam().state_dict())
    sam = only(f"sam:{path}")
    vit = only(f"mae:{saved(tmp_path, mae_file(stock_vit()), 'mae.pth')}?heads=4")
    given = with_decoder(vit, path)
    assert all(torch.equal(given.decoder[name], tensor) for name, tensor in sam.decoder.items())
    assert given.digest not in (vit.digest, sam.digest)
    assert with_decoder(sam, path) is sam
    random = only("random:tiny")
    assert with_decoder(random, path) is random
    encoder = {f"image_encoder.{name}": one for name, one in meta_sam().image_encoder.state_dict().items()}
    with pytest.raises(UserError, match="no decoder"):
        with_decoder(vit, saved(tmp_path, encoder, "encoder.pth"))


def test_a_random_encoder_of_nothing_known_is_refused():
    with pytest.raises(UserError, match="neither a recipe nor another encoder"):
        only("random:huge")


def test_the_digest_tells_weights_settings_and_decoder_apart(tmp_path):
    contender = only(f"sam:{saved(tmp_path, meta_sam().state_dict())}")
    embedder = contender.embedder
    assert contender.digest == digest_of(embedder, contender.decoder)
    seen = {contender.digest, digest_of(embedder, {}), digest_of(embedder.at_size(16), contender.decoder)}
    with torch.no_grad():
        embedder.encoder.pos_embed[0, 0, 0, 0] += 1e-6
    seen.add(digest_of(embedder, contender.decoder))
    assert len(seen) == 4


def test_a_name_says_which_file_and_the_file_which_layout(tmp_path):
    path = saved(tmp_path, stock_vit().state_dict())
    with pytest.raises(UserError):
        only(f"sam:{path}")
    with pytest.raises(UserError, match="no weight file"):
        only(f"dinov2:{tmp_path / 'absent.pth'}")
    with pytest.raises(UserError, match="no mricore encoder"):
        only(f"mricore:{tmp_path}")
