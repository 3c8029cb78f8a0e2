"""Attention over a large grid in pieces, against the formula with positions folded into queries and keys."""

import pytest
import torch
from torch import nn

from mricore.config.schema import Model
from mricore.model import grid_attention
from mricore.model.attention import attend
from mricore.model.grid_attention import attend_grid, suits
from mricore.model.relative import extend, grid_places, places
from mricore.model.relative_attention import Layout, RelativeAttention

CPU = torch.device("cpu")
SCALE = 0.25


def given(height, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shape = (2, height * width, 3, 16)  # as projections leave them, heads before tokens only by transposition
    parts = [torch.randn(shape, generator=generator, dtype=dtype).transpose(1, 2) for _ in range(3)]
    table = torch.randn(2 * height - 1 + 2 * width - 1, 16, generator=generator, dtype=dtype)
    return [one.detach().requires_grad_() for one in (*parts, table)]


@pytest.mark.numerics
@pytest.mark.parametrize(("height", "width"), [(5, 7), (16, 9)], ids=["one piece", "two pieces"])
def test_attention_in_pieces_and_its_gradients_are_those_of_the_formula(height, width):
    where = grid_places(height, width, CPU)
    queries, keys, values, table = inputs = given(height, width)
    wide = extend(queries, keys, table, where, SCALE)
    expected = torch.softmax(wide[0] @ wide[1].mT * SCALE, -1) @ values
    found = attend_grid(queries, keys, values, table, where, SCALE)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    gradient = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=found.dtype)
    pairs = zip(
        torch.autograd.grad(found, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
        strict=True,
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.numerics
def test_a_large_grid_in_float32_is_as_exact_as_the_kernel_of_the_library(monkeypatch):
    where = grid_places(32, 32, CPU)
    queries, keys, values, table = (one.detach().float() for one in given(32, 32))
    exact = (one.double() for one in (queries, keys))
    wide = extend(*exact, table.double(), where, SCALE)
    expected = torch.softmax(wide[0] @ wide[1].mT * SCALE, -1) @ values.double()
    assert suits(queries, where)
    found = attend_grid(queries, keys, values, table, where, SCALE)
    folded = attend(*extend(queries, keys, table, where, SCALE), values, SCALE, "sdpa")
    errors = [float((one.double() - expected).abs().max()) for one in (found, folded)]
    assert errors[0] < 1e-5
    assert errors[0] < 2 * errors[1]
    torch.library.opcheck(
        torch.ops.mricore.attend_grid.default, (queries, keys, values, wide_of(queries), 32, 32, SCALE)
    )


def wide_of(queries):
    return torch.zeros(*queries.shape[:3], 64)


def test_blocks_take_this_way_for_whole_large_grids_in_full_precision_alone(monkeypatch):
    attention = RelativeAttention(Model(dim=32, heads=2, native_grid=32), window=0)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(parameter.numel()))
    where = grid_places(32, 32, CPU)
    tokens = torch.randn(1, 32 * 32, 32, generator=torch.Generator().manual_seed(0))
    found = attention(tokens, Layout(where, where, None, 0))
    monkeypatch.setattr(grid_attention, "FROM", 2000)
    torch.testing.assert_close(attention(tokens, Layout(where, where, None, 0)), found, atol=1e-5, rtol=1e-5)
    monkeypatch.undo()
    queries = torch.zeros(1, 2, 32 * 32, 16)
    assert suits(queries, where)
    assert not suits(queries.bfloat16(), where)
    assert not suits(queries.to("meta"), where)
    some = places(torch.arange(64)[None], 32, 32)
    assert not suits(queries[:, :, :64], some)
    small = grid_places(8, 8, CPU)
    assert not suits(queries[:, :, :64], small)
