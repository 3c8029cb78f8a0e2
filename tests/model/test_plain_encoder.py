"""The plain encoder against a slow one written in the tests, and its promises about positions."""

import pytest
import torch
from vit_reference import plain_tokens, random_state

from mricore.config.encoders import plain_vit_b
from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.encoder import build_encoder
from mricore.model.image_token import ImageToken
from mricore.model.plain_encoder import PlainEncoder

SMALL = Model(kind="plain", readout="class", dim=16, depth=3, heads=2, patch=4, native_grid=4)


@pytest.mark.numerics
@pytest.mark.parametrize(("height", "width"), [(4, 4), (2, 2), (3, 5)])
def test_equal_to_a_vision_transformer_written_slowly(height, width):
    encoder = PlainEncoder(SMALL)
    state = random_state(encoder)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 4 * height, 4 * width, generator=generator, dtype=torch.float64)
    masks = torch.rand(2, height, width, generator=generator) < 0.4
    mask_token = torch.randn(16, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for given in ((None, None), (masks, mask_token)):
            tokens = encoder(images, *given)
            for row, image in enumerate(images):
                hidden = None if given[0] is None else masks[row]
                class_token, patches = plain_tokens(state, SMALL, image, masks=hidden, mask_token=given[1])
                torch.testing.assert_close(tokens.grid[row], patches, atol=1e-12, rtol=0)
                torch.testing.assert_close(tokens.class_token[row], class_token, atol=1e-12, rtol=0)


@pytest.mark.numerics
def test_vit_b_has_the_tensors_of_the_released_layout():
    """Facts of DINOv2's ViT-B/16 at 224 px without LayerScale: 85,799,424 parameters with its mask token."""
    with torch.device("meta"):
        encoder, token = build_encoder(plain_vit_b()), ImageToken(plain_vit_b())
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    assert shapes["pos_embed"] == (1, 197, 768)
    assert shapes["cls_token"] == (1, 1, 768)
    assert set(shapes) == {"pos_embed", "cls_token", "patch_embed.proj.weight", "patch_embed.proj.bias"} | {
        f"blocks.{index}.{part}.{kind}"
        for index in range(12)
        for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.lin1", "mlp.lin2")
        for kind in ("weight", "bias")
    }
    mask_token = 768
    counted = sum(p.numel() for module in (encoder, token) for p in module.parameters())
    assert counted + mask_token == 85_799_424


def test_positions_at_the_native_size_are_the_table_itself():
    encoder = PlainEncoder(SMALL)
    random_state(encoder)
    assert torch.equal(encoder.positions(4, 4).flatten(1, 2), encoder.pos_embed[:, 1:])


def test_every_size_trains_the_table_and_the_class_token():
    encoder = PlainEncoder(SMALL)
    random_state(encoder)
    for side in ((8, 8), (16, 16), (20, 36)):
        encoder.zero_grad()
        tokens = encoder(torch.randn(1, 3, *side, dtype=torch.float64))
        assert tokens.grid.shape == (1, side[0] // 4, side[1] // 4, 16)
        tokens.grid.square().sum().backward()
        assert (encoder.pos_embed.grad.abs().sum(-1) > 0).all()
        assert encoder.cls_token.grad.abs().sum() > 0
    with pytest.raises(UserError, match="patch"):
        encoder(torch.randn(1, 3, 9, 8, dtype=torch.float64))
