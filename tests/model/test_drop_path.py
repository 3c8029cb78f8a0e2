"""Stochastic depth on subsets of the batch: how it is drawn, what it adds, and how workers share a draw."""

from itertools import combinations

import numpy as np
import pytest
import torch
from vit_reference import random_state

from mricore.config.schema import Model
from mricore.model.blocks import Attention, Block
from mricore.model.drop_path import Kept, draw_kept, kept_of
from mricore.model.encoder import build_encoder

SIZES = {"dim": 16, "depth": 3, "heads": 2, "patch": 4, "native_grid": 6}
SAM = Model(window=3, global_blocks=(1,), neck_dim=4, **SIZES)
PLAIN = Model(kind="plain", readout="class", **SIZES)
CPU = torch.device("cpu")


def block():
    made = Block(PLAIN, Attention(PLAIN))
    random_state(made)
    return made


def everything(rows):
    return Kept(torch.arange(rows), 1.0)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 10), (0.3, 7), (0.34, 7), (0.99, 1)])
def test_each_branch_keeps_the_same_number_of_rows(rate, expected):
    kept = draw_kept(np.random.default_rng(0), 4, 10, rate)
    assert kept.shape == (4, 2, 10)
    assert (kept.sum(-1) == expected).all()


def test_every_row_is_kept_equally_often_and_branches_are_drawn_apart():
    kept = draw_kept(np.random.default_rng(0), 4000, 10, 0.3)
    often = kept.mean((0, 1))
    deviation = (0.7 * 0.3 / 8000) ** 0.5
    assert np.abs(often - 0.7).max() < 4.5 * deviation
    both = (kept[:, 0] & kept[:, 1]).mean()
    assert abs(both - 0.49) < 0.02
    again = draw_kept(np.random.default_rng(0), 4000, 10, 0.3)
    np.testing.assert_array_equal(kept, again)


@pytest.mark.numerics
@pytest.mark.parametrize("branch", [0, 1])
def test_the_mean_over_all_draws_is_the_block_without_drop_path(branch):
    """All 10 ways to keep 3 of 5 rows, in one branch while the other is whole."""
    made = block()
    tokens = torch.randn(5, 7, 16, dtype=torch.float64)
    with torch.no_grad():
        attended = made(tokens, (everything(5), Kept(torch.tensor([], dtype=torch.int64), 1.0)))
        given = tokens if branch == 0 else attended  # so that the branch sees the same input in each draw
        outputs = []
        for rows in combinations(range(5), 3):
            kept = [Kept(torch.tensor([], dtype=torch.int64), 1.0)] * 2
            kept[branch] = Kept(torch.tensor(rows), 5 / 3)
            outputs.append(made(given, tuple(kept)))
        expected = made(tokens) if branch == 1 else attended
    torch.testing.assert_close(torch.stack(outputs).mean(0), expected, atol=1e-12, rtol=0)


@pytest.mark.numerics
@pytest.mark.parametrize("settings", [SAM, PLAIN], ids=["sam", "plain"])
def test_subsets_equal_residuals_times_a_mask(settings):
    """The usual form: compute every residual, multiply it with 0 or the scale."""
    encoder = build_encoder(settings)
    random_state(encoder)
    images = torch.randn(6, 3, 16, 16, dtype=torch.float64)
    kept = draw_kept(np.random.default_rng(0), 3, 6, 0.4)
    found = encoder(images, drop=kept_of(kept, np.arange(6), CPU)).grid

    factors = torch.from_numpy(kept * (6 / kept.sum(-1, keepdims=True)))
    handles = []
    for index, one in enumerate(encoder.blocks):
        for part, module in enumerate((one.attn, one.mlp)):
            factor = factors[index, part][:, None, None]
            handles.append(module.register_forward_hook(lambda _, __, out, factor=factor: out * factor))
    expected = encoder(images).grid
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    leaves = [parameter for name, parameter in encoder.named_parameters() if "neck" not in name]
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((one * weights).sum(), leaves) for one in (found, expected)]
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, atol=1e-10, rtol=1e-9)


@pytest.mark.numerics
@pytest.mark.parametrize("settings", [SAM, PLAIN], ids=["sam", "plain"])
def test_two_workers_compute_the_rows_of_one(settings):
    encoder = build_encoder(settings)
    random_state(encoder)
    images = torch.randn(7, 3, 16, 16, dtype=torch.float64)
    kept = draw_kept(np.random.default_rng(0), 3, 7, 0.4)
    whole = encoder(images, drop=kept_of(kept, np.arange(7), CPU))
    for own in (np.array([0, 2, 3, 6]), np.array([1, 4, 5])):
        part = encoder(images[own], drop=kept_of(kept, own, CPU))
        torch.testing.assert_close(part.grid, whole.grid[own], atol=1e-12, rtol=0)


@pytest.mark.parametrize("settings", [SAM, PLAIN], ids=["sam", "plain"])
def test_a_worker_may_keep_no_row_and_still_has_all_gradients(settings):
    encoder = build_encoder(settings)
    random_state(encoder)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    drop = kept_of(np.arange(3 * 2 * 4).reshape(3, 2, 4) % 4 > 1, np.array([0, 1]), CPU)
    assert all(len(branch.rows) == 0 for pair in drop for branch in pair)
    tokens = encoder(images, drop=drop)
    embedded = encoder.patch_embed(images) + encoder.positions(4, 4)
    torch.testing.assert_close(tokens.grid, embedded, atol=0, rtol=0)
    (tokens.grid.sum() + (0 if tokens.class_token is None else tokens.class_token.sum())).backward()
    for name, parameter in encoder.named_parameters():
        assert "neck" in name or parameter.grad is not None, name
        assert "blocks" not in name or not parameter.grad.any(), name


def test_the_scale_is_that_of_the_global_batch():
    kept = np.zeros((1, 2, 8), bool)
    kept[0, 0, :6], kept[0, 1, 7] = True, True
    attention, mlp = kept_of(kept, np.array([1, 5, 6]), CPU)[0]
    assert attention.rows.tolist() == [0, 1]
    assert attention.scale == pytest.approx(8 / 6)
    assert mlp.rows.tolist() == []
    assert mlp.scale == 8.0
