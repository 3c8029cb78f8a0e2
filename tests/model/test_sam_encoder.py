"""The encoder against segment_anything's own class, and the promises beyond its native size."""

import pytest
import torch
import torch.nn.functional as F
from sam_reference import sam_builders, sam_encoder, sam_encoder_at
from torch import nn

from mricore.config.encoders import sam_vit_b, sam_vit_h, sam_vit_l
from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.sam_encoder import SamEncoder
from mricore.model.weights import load_strictly

SMALL = Model(dim=32, depth=4, heads=4, patch=4, window=5, global_blocks=(1, 3), native_grid=12, neck_dim=8)


def twin(settings):
    """Meta's encoder and ours with the same weights."""
    reference = sam_encoder(settings)
    ours = SamEncoder(settings).eval()
    report = load_strictly(ours, reference.state_dict())
    assert not report.dropped
    return reference, ours


def on_grid(positions, height, width):
    """Resampled as ours are, by torch's own function."""
    maps = F.interpolate(positions.permute(0, 3, 1, 2), (height, width), mode="bicubic", antialias=True)
    return maps.permute(0, 2, 3, 1)


@pytest.mark.numerics
@pytest.mark.parametrize(
    "window", [5, 4, 12, 14]
)  # padding, no padding, exactly one window, larger than the grid
def test_equal_to_segment_anything_at_the_native_size(window):
    settings = SMALL.model_copy(update={"window": window})
    reference, ours = twin(settings)
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference(images)
        grid = ours(images).grid
        if window == 14:  # SAM pads 12 to 14 and lets padding act as keys; one window never pads here
            assert (ours.to_neck(grid) - expected).abs().max() > 1e-4
        else:
            torch.testing.assert_close(ours.to_neck(grid), expected, atol=1e-5, rtol=0)


@pytest.mark.numerics
@pytest.mark.slow
def test_equal_to_segment_anything_vit_b_at_1024_px():
    reference, ours = twin(Model())
    images = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference(images)
        difference = (ours.to_neck(ours(images).grid) - expected).abs().max()
    assert difference < 1e-5 * expected.abs().max()  # docs/decisions/0007-parity-tolerance.md


@pytest.mark.numerics
def test_in_float64_nothing_but_rounding_remains():
    reference, ours = (part.double() for part in twin(SMALL))
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours.to_neck(ours(images).grid), reference(images), atol=1e-12, rtol=0)


@pytest.mark.numerics
@pytest.mark.parametrize("grid", [2, 3, 4, 5, 8, 12, 15])  # from below one window to beyond the native size
def test_literal_semantics_equal_segment_anything_at_every_size(grid):
    settings = SMALL.model_copy(update={"compat": "sam"})
    _, ours = (part.double() for part in twin(settings))
    literal = sam_encoder_at(settings, ours.state_dict(), on_grid(ours.pos_embed, grid, grid))
    images = torch.randn(
        2, 3, 4 * grid, 4 * grid, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    with torch.no_grad():
        found, expected = ours.to_neck(ours(images).grid), literal(images)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        found = ours.float().to_neck(ours(images.float()).grid)
        torch.testing.assert_close(found, literal.float()(images.float()), atol=1e-5, rtol=0)


@pytest.mark.numerics
def test_without_literal_semantics_a_small_grid_is_not_padded():
    """Padding that acts as keys changes the features, so the two settings differ where SAM would pad."""
    settings = SMALL.model_copy(update={"compat": "sam"})
    _, literal = twin(settings)
    _, ours = twin(SMALL)
    images = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (literal(images).grid - ours(images).grid).abs().max() > 1e-3


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("settings", "builder"),
    [(sam_vit_b(), "build_sam_vit_b"), (sam_vit_l(), "build_sam_vit_l"), (sam_vit_h(), "build_sam_vit_h")],
)
def test_each_size_of_sam_has_the_same_tensors(settings, builder, monkeypatch):
    build = getattr(sam_builders(monkeypatch), builder)
    with torch.device("meta"):
        reference, ours = build().image_encoder, SamEncoder(settings)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in reference.state_dict().items()}
    first, second = (module.blocks[0].attn for module in (reference, ours))
    assert first.num_heads == second.heads
    assert [block.window_size for block in reference.blocks] == [block.attn.window for block in ours.blocks]
    if builder == "build_sam_vit_b":
        assert len(shapes) == 177
        assert sum(shape.numel() for shape in shapes.values()) == 89_670_912


def test_any_multiple_of_the_patch_works_and_trains_the_master_positions():
    encoder = SamEncoder(SMALL)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    for side in ((8, 8), (20, 32), (64, 64)):
        encoder.zero_grad()
        grid = encoder(torch.randn(1, 3, *side)).grid
        assert grid.shape == (1, side[0] // 4, side[1] // 4, 32)
        grid.square().sum().backward()
        assert encoder.pos_embed.grad.abs().sum() > 0
    with pytest.raises(UserError, match="patch"):
        encoder(torch.randn(1, 3, 9, 8))


def test_masked_patches_do_not_see_their_pixels():
    encoder = SamEncoder(SMALL).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, 1, 2] = True
    token = torch.randn(32)
    image = torch.randn(1, 3, 16, 16)
    changed = image.clone()
    changed[..., 4:8, 8:12] = 5.0
    with torch.no_grad():
        assert torch.equal(encoder(image, masks, token).grid, encoder(changed, masks, token).grid)
        assert not torch.equal(encoder(image).grid, encoder(changed).grid)


@pytest.mark.numerics
@pytest.mark.parametrize(("height", "width"), [(5, 6), (12, 9), (20, 3)])
def test_positions_are_resampled_bicubically_with_the_gradient_of_that(height, width):
    encoder = SamEncoder(SMALL).double()
    nn.init.normal_(encoder.pos_embed, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(1, height, width, 32, dtype=torch.float64)
    found = encoder.positions(height, width)
    expected = on_grid(encoder.pos_embed, height, width)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad((one * weights).sum(), encoder.pos_embed) for one in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


def test_positions_at_the_native_size_are_the_master_itself():
    encoder = SamEncoder(SMALL)
    assert encoder.positions(12, 12) is encoder.pos_embed
