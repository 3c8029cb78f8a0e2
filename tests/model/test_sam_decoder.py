"""SAM's decoder without prompts, against segment_anything's own forward pass, and its strict loading."""

import pytest
import torch
from foreign_weights import SAM, meta_sam, shaken

from mricore.errors import UserError
from mricore.model.sam_decoder import DecoderShape, SamDecoder, load_decoder, shape_of

PARTS = ("prompt_encoder.", "mask_decoder.")
TOKENS = "mask_decoder.mask_tokens.weight"


@pytest.fixture(scope="module")
def sam():
    return meta_sam()


@pytest.fixture(scope="module")
def tensors(sam):
    return {name: tensor for name, tensor in sam.state_dict().items() if name.startswith(PARTS)}


def loaded(tensors, classes, **choices):
    decoder = SamDecoder(shape_of(tensors), classes)
    return decoder, load_decoder(decoder, tensors, **choices)


def maps(size=(6, 6)):
    return torch.randn(3, SAM.neck_dim, *size, generator=torch.Generator().manual_seed(0))


def metas_masks(sam, image):
    """SAM's three masks of one image (1, C, h, w), from its own forward pass without prompts."""
    prompts = sam.prompt_encoder
    prompts.image_embedding_size = tuple(image.shape[2:])
    sparse, dense = prompts(points=None, boxes=None, masks=None)
    return sam.mask_decoder(image, prompts.get_dense_pe(), sparse, dense, multimask_output=True)[0]


def test_sams_decoder_has_the_number_of_parameters_of_its_file():
    decoder = SamDecoder(DecoderShape(), 3)
    counts = [
        sum(one.numel() for one in part.parameters())
        for part in (decoder.mask_decoder, decoder.prompt_encoder)
    ]
    assert counts == [4_058_340, 6_220]


@pytest.mark.numerics
@pytest.mark.parametrize("size", [(8, 8), (5, 7)])
def test_a_batch_of_images_gives_what_segment_anything_gives_for_each(sam, tensors, size):
    decoder, _ = loaded(tensors, 3)
    with torch.no_grad():
        expected = torch.cat([metas_masks(sam, image[None]) for image in maps(size)])
        torch.testing.assert_close(decoder(maps(size)), expected, atol=1e-5, rtol=1e-5)
    assert expected.shape == (3, 3, 4 * size[0], 4 * size[1])


@pytest.mark.numerics
def test_each_class_begins_as_an_output_of_sam_in_turn(tensors):
    """Identical tokens share attention, so classes 4 and 5 are the same maps as 1 and 2."""
    decoder, report = loaded(tensors, 5)
    with torch.no_grad():
        masks = decoder(maps())
    torch.testing.assert_close(masks[:, 3:], masks[:, :2])
    assert not torch.allclose(masks[:, 0], masks[:, 1])
    assert {note.name for note in report.reshaped} >= {TOKENS}
    assert len(report.loaded) + len(report.reshaped) == len(decoder.state_dict())


def test_one_class_takes_the_second_token_and_hypernetwork_and_the_others_are_accounted_for(tensors):
    decoder, report = loaded(tensors, 1)
    state = decoder.state_dict()
    torch.testing.assert_close(state[TOKENS], tensors[TOKENS][:2])
    name = "mask_decoder.output_hypernetworks_mlps.1.layers.0.weight"
    torch.testing.assert_close(state[name], tensors[name])
    dropped = {note.name for note in report.dropped}
    assert dropped == set(tensors) - set(state)
    assert {name.split(".")[2] for name in dropped} == {"2", "3"}


def test_all_of_sam_is_loaded_as_it_is_for_three_classes(tensors):
    decoder, report = loaded(tensors, 3)
    assert set(report.loaded) == set(tensors) == set(decoder.state_dict())
    assert not (report.reshaped or report.dropped or report.kept)


def test_kept_tokens_stay_as_initialised(tensors):
    decoder = SamDecoder(shape_of(tensors), 1)
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    report = load_decoder(decoder, tensors, keep_tokens=True)
    after = decoder.state_dict()
    unchanged = {name for name in after if torch.equal(after[name], before[name])}
    layers = "mask_decoder.iou_prediction_head.layers.2"
    assert set(report.kept) == {TOKENS, f"{layers}.weight", f"{layers}.bias"} == unchanged


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("mask_decoder.iou_token.weight"), "iou_token.weight is missing"),
        (lambda t: t.update({"mask_decoder.extra": torch.zeros(1)}), "mask_decoder.extra is unknown"),
        (lambda t: t.update({"mask_decoder.iou_token.weight": torch.zeros(1, 3)}), "instead of"),
        (lambda t: t.pop("mask_decoder.output_hypernetworks_mlps.2.layers.0.bias"), "is missing"),
        (lambda t: t.pop("prompt_encoder.no_mask_embed.weight"), "no_mask_embed.weight is missing"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused_by_the_name_of_a_tensor(tensors, change, words):
    changed = dict(tensors)
    change(changed)
    with pytest.raises(UserError, match=words):
        loaded(changed, 3)


def test_a_width_that_cannot_be_cut_into_heads_is_refused():
    with pytest.raises(UserError, match="multiple of 16"):
        SamDecoder(DecoderShape(dim=24), 1)


def test_the_parameters_that_are_read_are_those_that_get_gradients():
    decoder = shaken(SamDecoder(DecoderShape(32, 64), 2))
    decoder(maps()).square().sum().backward()
    touched = {name for name, one in decoder.named_parameters() if one.grad is not None}
    read = {id(one) for one in decoder.read_parameters()}
    assert touched == {name for name, one in decoder.named_parameters() if id(one) in read}
    assert {id(one) for one in decoder.class_parameters()} < read
