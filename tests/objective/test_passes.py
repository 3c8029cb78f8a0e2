"""Blocks of rows."""

import pytest
import torch

from mricore.objective import passes
from mricore.objective.passes import BLOCKWISE, compiled, row_blocks


@pytest.mark.parametrize(("shape", "most"), [((10, 8), 3), ((2, 10, 8), 1), ((10, 100), 1), ((10, 1), 10)])
def test_blocks_cover_every_row_once_and_hold_no_more_than_is_allowed(shape, most, monkeypatch):
    monkeypatch.setattr(passes, "CPU_BLOCK", 24)
    logits = torch.zeros(shape)
    blocks = [range(10)[rows] for rows in row_blocks(logits)]
    assert [row for block in blocks for row in block] == list(range(10))
    assert max(map(len, blocks)) == most


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5)])
def test_without_rows_there_is_no_block(shape):
    assert list(row_blocks(torch.zeros(shape))) == []


@pytest.mark.numerics
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_passes_for_the_compiler_make_the_same_numbers(dtype, monkeypatch):
    monkeypatch.setattr(passes, "CPU_BLOCK", 3 * 40)
    monkeypatch.setattr(torch, "compile", lambda formula, dynamic: formula)
    fused = compiled.__wrapped__()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 10, 40, generator=generator).to(dtype)
    wide = passes.wide(dtype)
    targets, factors = (torch.rand(10, count, generator=generator).to(wide) for count in (40, 1))
    columns, temperature = torch.rand(40, generator=generator).to(wide), 0.1
    for center in (None, columns):
        same(BLOCKWISE.softmax(logits[0], temperature, center), fused.softmax(logits[0], temperature, center))
    highest = logits[0].amax(0).to(wide)
    same(BLOCKWISE.mass(logits[0], highest, temperature), fused.mass(logits[0], highest, temperature))
    same(
        BLOCKWISE.scaled(targets.clone(), columns, factors[:, 0]),
        fused.scaled(targets, columns, factors[:, 0]),
    )
    found = BLOCKWISE.losses(logits, targets, temperature)
    for one, other in zip(found, fused.losses(logits, targets, temperature), strict=True):
        same(one, other)
    given = (logits, found[1], targets.sum(-1, keepdim=True), targets, factors, temperature)
    same(BLOCKWISE.slopes(*given), fused.slopes(*given))


def same(one, other):
    assert one.dtype == other.dtype
    torch.testing.assert_close(one, other)
