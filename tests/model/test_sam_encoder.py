"""The encoder against segment_anything's own class, and the promises beyond its native size."""

import pytest
import torch
from sam_reference import sam_encoder
from torch import nn

from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.attention import attend, extend, padded_to, relative_rows
from mricore.model.blocks import Block, from_windows, to_windows
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
        tokens = ours(images)
        if window == 14:  # SAM pads 12 to 14 and lets padding act as keys; one window never pads here
            assert (ours.to_neck(tokens) - expected).abs().max() > 1e-4
        else:
            torch.testing.assert_close(ours.to_neck(tokens), expected, atol=1e-5, rtol=0)


@pytest.mark.numerics
@pytest.mark.slow
def test_equal_to_segment_anything_vit_b_at_1024_px():
    reference, ours = twin(Model())
    assert len(ours.state_dict()) == 177
    assert sum(p.numel() for p in ours.parameters()) == 89_670_912
    images = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference(images)
        difference = (ours.to_neck(ours(images)) - expected).abs().max()
    assert difference < 1e-5 * expected.abs().max()  # docs/decisions/0007-parity-tolerance.md


@pytest.mark.numerics
def test_in_float64_nothing_but_rounding_remains():
    reference, ours = (part.double() for part in twin(SMALL))
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours.to_neck(ours(images)), reference(images), atol=1e-12, rtol=0)


@pytest.mark.numerics
@pytest.mark.parametrize(("height", "width"), [(3, 5), (7, 7), (10, 4)])
def test_folded_positions_equal_the_explicit_bias(height, width):
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (
        torch.randn(2, 3, height * width, 8, generator=generator, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    )
    tables = [
        torch.randn(13 * 2 - 1, 8, generator=generator, dtype=torch.float64, requires_grad=True) for _ in "hw"
    ]

    def folded():
        rows = [relative_rows(table, size) for table, size in zip(tables, (height, width), strict=True)]
        return attend(*extend(queries, keys, *rows, scale=8**-0.5), values, "sdpa")

    def explicit():
        bias = torch.zeros(2, 3, height * width, height * width, dtype=torch.float64)
        for i in range(height * width):
            for j in range(height * width):
                down, right = i // width - j // width, i % width - j % width
                offset = tables[0][12 + down] + tables[1][12 + right]
                bias[:, :, i, j] = (queries[:, :, i] * offset).sum(-1)
        logits = queries @ keys.transpose(-1, -2) * 8**-0.5 + bias
        return logits.softmax(-1) @ values

    torch.testing.assert_close(folded(), explicit(), atol=1e-12, rtol=0)
    leaves = [queries, keys, values, *tables]
    for one, two in zip(
        torch.autograd.grad(folded().square().sum(), leaves),
        torch.autograd.grad(explicit().square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-10, rtol=0)


@pytest.mark.numerics
def test_a_small_grid_equals_a_padded_window_whose_padding_is_masked():
    block = Block(SMALL, SMALL.window).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    tokens = torch.randn(1, 3, 3, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    attention = block.attn
    with torch.no_grad():
        padded = to_windows(tokens, 5)
        qkv = attention.qkv(padded).view(1, 25, 3, 4, 8).permute(2, 0, 3, 1, 4)
        rows = [relative_rows(table, 5) for table in (attention.rel_pos_h, attention.rel_pos_w)]
        queries, keys = extend(qkv[0], qkv[1], *rows, scale=8**-0.5)
        real = torch.zeros(5, 5, dtype=torch.bool)
        real[:3, :3] = True
        logits = (queries @ keys.transpose(-1, -2)).masked_fill(~real.flatten(), -torch.inf)
        attended = (logits.softmax(-1) @ qkv[2]).transpose(1, 2).reshape(1, 5, 5, 32)
        expected = from_windows(attention.proj(attended), 5, 3, 3)
        torch.testing.assert_close(attention(tokens), expected, atol=1e-12, rtol=0)


def test_windows_return_in_place():
    tokens = torch.randn(2, 7, 11, 3)
    torch.testing.assert_close(from_windows(to_windows(tokens, 4), 4, 7, 11), tokens, atol=0, rtol=0)


def test_any_multiple_of_the_patch_works_and_trains_the_master_positions():
    encoder = SamEncoder(SMALL)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    for side in ((8, 8), (20, 32), (64, 64)):
        encoder.zero_grad()
        tokens = encoder(torch.randn(1, 3, *side))
        assert tokens.shape == (1, side[0] // 4, side[1] // 4, 32)
        tokens.square().sum().backward()
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
        assert torch.equal(encoder(image, masks, token), encoder(changed, masks, token))
        assert not torch.equal(encoder(image), encoder(changed))


def test_xformers_without_cuda_is_refused():
    tensor = torch.zeros(1, 1, 4, 8)
    with pytest.raises(UserError, match=r"model\.attention=sdpa"):
        attend(tensor, tensor, tensor, "xformers")


def test_padding_for_xformers_changes_no_attention():
    queries, keys = (torch.randn(2, 3, 9, 92) for _ in range(2))
    padded = padded_to(8, queries)
    assert padded.shape[-1] == 96
    torch.testing.assert_close(padded @ padded_to(8, keys).mT, queries @ keys.mT)
    assert torch.equal(padded_to(8, padded), padded)


@pytest.mark.gpu
def test_xformers_equals_sdpa():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("xformers")
    queries, keys, values = (
        torch.randn(2, 3, 36, channels, device="cuda", dtype=torch.bfloat16) for channels in (76, 76, 64)
    )
    expected = attend(queries, keys, values, "sdpa")
    torch.testing.assert_close(attend(queries, keys, values, "xformers"), expected, atol=2e-2, rtol=2e-2)


def test_a_short_table_is_stretched_and_not_repeated():
    table = torch.arange(-2.0, 3)[:, None] * torch.ones(1, 3)
    rows = relative_rows(table, 5)[..., 0]
    torch.testing.assert_close(rows, -rows.T)
    assert (rows[:, 0].diff() > 0.1).all()
