"""Relative positions folded into queries and keys against the bias written out."""

import pytest
import torch
from torch import nn

from mricore.config.schema import Model
from mricore.model.attention import attend
from mricore.model.relative import extend, fitted, grid_places, joined_tables, places, towards
from mricore.model.relative_attention import Layout, RelativeAttention
from mricore.model.windows import from_windows, to_windows

CPU = torch.device("cpu")


@pytest.mark.numerics
@pytest.mark.parametrize(("height", "width"), [(3, 5), (7, 7), (10, 4)])
@pytest.mark.parametrize("some", [False, True])
def test_folded_positions_equal_the_explicit_bias(height, width, some):
    """For a whole grid, and for some of its tokens in any order, other ones in each row of the batch."""
    generator = torch.Generator().manual_seed(0)
    index = torch.stack([torch.randperm(height * width, generator=generator)[:9] for _ in range(2)])
    if not some:
        index = torch.arange(height * width).expand(2, -1)
    queries, keys, values = (
        torch.randn(2, 3, index.shape[1], 8, generator=generator, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    )
    tables = [
        torch.randn(13 * 2 - 1, 8, generator=generator, dtype=torch.float64, requires_grad=True) for _ in "hw"
    ]
    where = places(index, height, width) if some else grid_places(height, width, CPU)

    def folded():
        table = joined_tables(*tables, height, width, stretch=False)
        extended = extend(queries, keys, table, where, scale=8**-0.5)
        return attend(*extended, values, 8**-0.5, "sdpa")

    def explicit():
        bias = torch.zeros(2, 3, index.shape[1], index.shape[1], dtype=torch.float64)
        for row in range(2):
            for i, query in enumerate(index[row]):
                for j, key in enumerate(index[row]):
                    down, right = query // width - key // width, query % width - key % width
                    offset = tables[0][12 + down] + tables[1][12 + right]
                    bias[row, :, i, j] = (queries[row, :, i] * offset).sum(-1)
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


@pytest.mark.parametrize("some", [False, True])
def test_a_bias_by_itself_is_the_one_that_is_folded_into_queries(some):
    index = torch.stack([torch.randperm(15)[:9] for _ in range(2)])
    where = places(index, 3, 5) if some else grid_places(3, 5, CPU)
    tokens = where.codes.shape[-2]
    queries, table = torch.randn(2, 3, tokens, 8), torch.randn(2 * 3 - 1 + 2 * 5 - 1, 8)
    extended, _ = extend(queries, queries, table, where, 1.0)
    torch.testing.assert_close(towards(queries, table, where), extended[..., 8:])


@pytest.mark.numerics
def test_a_small_grid_equals_a_padded_window_whose_padding_is_masked():
    """6 x 6 in a window of 14, the local crops of the paper: rows 8 to 18 of the table are what counts."""
    attention = RelativeAttention(Model(dim=32, heads=4), window=14).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    tokens = torch.randn(1, 6, 6, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        queries, keys, values = attention.split(to_windows(tokens, 14))
        table = torch.cat([attention.rel_pos_h, attention.rel_pos_w])
        queries, keys = extend(queries, keys, table, grid_places(14, 14, CPU), scale=8**-0.5)
        real = torch.zeros(14, 14, dtype=torch.bool)
        real[:6, :6] = True
        logits = (queries @ keys.transpose(-1, -2) * 8**-0.5).masked_fill(~real.flatten(), -torch.inf)
        attended = (logits.softmax(-1) @ values).transpose(1, 2).reshape(1, 196, 32)
        expected = from_windows(attention.proj(attended), 14, 6, 6)

        where = grid_places(6, 6, CPU)
        found = attention(tokens.flatten(1, 2), Layout(where, where, None, 0))
        torch.testing.assert_close(found, expected.flatten(1, 2), atol=1e-12, rtol=0)
        attention.rel_pos_h[:8] = attention.rel_pos_h[19:] = torch.nan
        torch.testing.assert_close(attention(tokens.flatten(1, 2), Layout(where, where, None, 0)), found)


def test_windows_return_in_place():
    tokens = torch.randn(2, 7, 11, 3)
    torch.testing.assert_close(from_windows(to_windows(tokens, 4), 4, 7, 11), tokens, atol=0, rtol=0)


def test_a_window_is_cut_out_of_the_grid_and_padded_with_zeros():
    tokens = torch.randn(1, 5, 5, 2)
    windows = to_windows(tokens, 3).view(2, 2, 3, 3, 2)
    torch.testing.assert_close(windows[0, 1, :, :2], tokens[0, :3, 3:], atol=0, rtol=0)
    assert not windows[0, 1, :, 2].any()
    assert not windows[1, :, 2].any()


def test_a_short_table_is_stretched_and_not_repeated():
    table = torch.arange(-2.0, 3)[:, None] * torch.ones(1, 3)
    longer = fitted(table, 5, stretch=False)[:, 0]
    assert longer.shape == (9,)
    torch.testing.assert_close(longer, -longer.flip(0))
    assert (longer.diff() > 0.1).all()


def test_a_long_table_is_cut_to_its_centre_or_stretched_if_so_wanted():
    table = torch.arange(-5.0, 6)[:, None] * torch.ones(1, 3)
    assert fitted(table, 3, stretch=False)[:, 0].tolist() == [-2, -1, 0, 1, 2]
    shorter = fitted(table, 3, stretch=True)[:, 0]
    torch.testing.assert_close(shorter, torch.tensor([-4.4, -2.2, 0, 2.2, 4.4]))
