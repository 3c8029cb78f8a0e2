"""Adapters against formulas written out here, and the promise that what is shared never changes."""

import pytest
import torch
import torch.nn.functional as F
from foreign_weights import PLAIN, SAM, shaken
from sam_reference import sam_encoder_at

from mricore.config.encoders import sam_vit_b
from mricore.errors import UserError
from mricore.model.adapters import (
    Adapter,
    adapt_decoder,
    adapt_encoder,
    pad_before_norm,
    seeded,
    sharing,
    without_relative_positions,
)
from mricore.model.encoder import build_encoder
from mricore.model.initialise import initialise
from mricore.model.sam_decoder import DecoderShape, SamDecoder

FOUR = SAM.model_copy(update={"depth": 5})


def encoder(settings):
    made = build_encoder(settings)
    initialise(made, torch.Generator().manual_seed(0))
    return shaken(made).requires_grad_(False)


def images(side=24):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def count(adapters):
    return sum(parameter.numel() for adapter in adapters for parameter in adapter.parameters())


def test_vit_b_and_sams_decoder_get_as_many_parameters_as_in_the_published_code():
    """Of 3,550,464 published in the encoder 1,183,488 are of a third adapter that nothing calls."""
    with torch.device("meta"):
        vit_b, decoder = build_encoder(sam_vit_b()), SamDecoder(DecoderShape(), 1)
        adapters = adapt_encoder(vit_b, 2, 2, 0.25, False)
        assert count(adapters) == 3_550_464 - 1_183_488
        assert count(adapt_decoder(decoder, 0.25, False)) == 132_352
    adapted = [
        n for n, block in enumerate(vit_b.blocks) if any("adapter" in k for k, _ in block.named_modules())
    ]
    assert adapted == [0, 1, 10, 11]


@pytest.mark.parametrize("settings", [FOUR, PLAIN], ids=["sam", "plain"])
def test_adapters_that_begin_at_zero_change_no_bit_and_others_do(settings):
    original = encoder(settings)
    expected = original(images()).grid
    for zero in (True, False):
        copy = sharing(original)
        with seeded(0):
            adapt_encoder(copy, 1, 2, 0.25, zero)
        assert torch.equal(copy(images()).grid, expected) == zero
    assert torch.equal(original(images()).grid, expected)


def test_a_sharing_copy_has_the_very_tensors_and_its_changes_stay_its_own():
    original = encoder(FOUR)
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    copy = sharing(original)
    assert all(a is b for a, b in zip(copy.parameters(), original.parameters(), strict=True))
    without_relative_positions(copy)
    pad_before_norm(copy)
    adapt_encoder(copy, 2, 2, 0.25, False)
    assert set(original.state_dict()) == set(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())


@pytest.mark.numerics
@pytest.mark.parametrize("side", [24, 32], ids=["cut into windows", "other grid"])
def test_an_adapted_block_is_attention_then_adapter_and_an_adapter_beside_the_mlp(side):
    """The first block alone, so that the residual stream before and after it can be looked at."""
    made = encoder(SAM.model_copy(update={"depth": 1, "global_blocks": ()}))
    seen = {}
    block = made.blocks[0]
    block.register_forward_hook(lambda _, given, out: seen.update(given=given, out=out))
    made(images(side))
    tokens, _, layout = seen["given"]
    with seeded(3):
        after, beside = adapt_encoder(copy := sharing(made), 1, 0, 0.25, False)

    def adapter(module, x):
        hidden = F.gelu(x @ module.down.weight.T + module.down.bias)
        return hidden @ module.up.weight.T + module.up.bias

    attended = block.attn(block.norm1(tokens), layout)
    expected = tokens + attended + adapter(after, attended)
    normed = block.norm2(expected)
    expected = expected + block.mlp(normed) + 0.5 * adapter(beside, normed)
    torch.testing.assert_close(copy.blocks[0](tokens, None, layout), expected)


@pytest.mark.numerics
def test_an_adapted_layer_of_the_decoder_uses_one_adapter_on_tokens_and_on_the_image():
    decoder = shaken(SamDecoder(DecoderShape(32, 64), 2))
    generator = torch.Generator().manual_seed(0)
    tokens, token_places = torch.randn(2, 3, 4, 32, generator=generator)
    image, places = torch.randn(2, 3, 9, 32, generator=generator)
    layer = decoder.mask_decoder.transformer.layers[1]
    plain = sharing(layer)
    with seeded(0):
        adapters = adapt_decoder(decoder, 0.25, False)
    both, beside = adapters[2:]
    t = plain.norm1(tokens + plain.self_attn(tokens + token_places, tokens + token_places, tokens))
    t = t + plain.cross_attn_token_to_image(t + token_places, image + places, image)
    t = plain.norm2(t + both(t))
    t = plain.norm3(t + plain.mlp(t) + 0.5 * beside(t))
    i = image + plain.cross_attn_image_to_token(image + places, t + token_places, t)
    i = plain.norm4(i + both(i))
    found = layer(tokens, image, token_places, places)
    torch.testing.assert_close(found, (t, i))


def metas_encoder(ours, settings, grid):
    """Meta's class with the weights of ours, for the grid of an image."""
    weights = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    return sam_encoder_at(settings, weights, ours.positions(grid, grid).detach())


@pytest.mark.numerics
def test_relative_positions_that_are_off_are_those_of_meta_without_them():
    ours = encoder(SAM)
    meta = metas_encoder(ours, SAM, 8)
    for block in meta.blocks:
        block.attn.use_rel_pos = False
    off = sharing(ours)
    without_relative_positions(off)
    expected = meta(images(32))
    torch.testing.assert_close(off.to_neck(off(images(32)).grid), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours.to_neck(ours(images(32)).grid), expected, atol=1e-3)


@pytest.mark.numerics
def test_padding_before_the_norm_is_what_metas_block_does_with_the_two_in_other_order():
    from segment_anything.modeling.image_encoder import window_partition, window_unpartition

    ours = encoder(SAM)
    meta = metas_encoder(ours, SAM, 8)
    x = meta.patch_embed(images(32)) + meta.pos_embed
    for block in meta.blocks:
        shortcut, size = x, x.shape[1:3]
        if block.window_size:
            x, padded = window_partition(x, block.window_size)
            x = window_unpartition(block.attn(block.norm1(x)), block.window_size, padded, size)
        else:
            x = block.attn(block.norm1(x))
        x = shortcut + x
        x = x + block.mlp(block.norm2(x))
    changed = sharing(ours)
    pad_before_norm(changed)
    torch.testing.assert_close(changed(images(32)).grid, x, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours(images(32)).grid, x, atol=1e-3)


def test_seeded_constructors_repeat_themselves_and_leave_the_global_generator_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    made = []
    for seed in (5, 5, 6):
        with seeded(seed):
            made.append(Adapter(8, 0.5, zero=False).down.weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert torch.equal(torch.rand(3), expected)


def test_more_adapted_blocks_than_there_are_and_an_empty_bottleneck_are_refused():
    with pytest.raises(UserError, match=r"2 \+ 2 of 3 blocks"):
        adapt_encoder(encoder(SAM), 2, 2, 0.25, True)
    with pytest.raises(UserError, match="ratio"):
        Adapter(8, 0.1, zero=True)
