"""Blocks of rows."""

import pytest
import torch

from mricore.objective import passes
from mricore.objective.passes import row_blocks


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
