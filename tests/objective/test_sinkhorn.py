"""Sinkhorn-Knopp: equal to the slow reference, at any temperature and spread, however rows are shared."""

import numpy as np
import pytest
import reference
import torch
from groups import in_group

from mricore.objective import passes
from mricore.objective.communication import Alone, ProcessGroup
from mricore.objective.targets import sinkhorn_targets

K = 11


def drawn(rows, spread, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, K)) * spread


@pytest.mark.numerics
@pytest.mark.parametrize("block", [3 * K, passes.CPU_BLOCK])
def test_it_equals_the_published_form_where_that_does_not_overflow(block, monkeypatch):
    monkeypatch.setattr(passes, "CPU_BLOCK", block)
    logits = drawn(64, 0.1)
    expected = reference.sinkhorn(logits, 0.05)
    exact = sinkhorn_targets(torch.from_numpy(logits), 0.05, Alone())
    single = sinkhorn_targets(torch.from_numpy(logits).float(), 0.05, Alone())
    assert (exact.dtype, single.dtype) == (torch.float64, torch.float32)
    np.testing.assert_allclose(exact.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(single.numpy(), expected, rtol=2e-5)
    plain = np.apply_along_axis(reference.softmax, 1, logits / 0.05).sum(0)
    assert np.ptp(exact.numpy().sum(0)) < 0.2 * np.ptp(plain)


@pytest.mark.numerics
@pytest.mark.parametrize("temperature", [0.07, 1e-2, 1e-4])
@pytest.mark.parametrize("spread", [0.3, 3, 30])
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_it_equals_the_reference_at_any_temperature_and_spread(temperature, spread, rows):
    logits = drawn(rows, spread)
    logits[-1] -= 20 * spread  # far from everything: after the first prototypes nothing of it is left
    expected = reference.sinkhorn_in_logarithms(logits, temperature)
    found = sinkhorn_targets(torch.from_numpy(logits), temperature, Alone()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    single = sinkhorn_targets(torch.from_numpy(logits).float(), temperature, Alone()).numpy()
    np.testing.assert_allclose(single.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1e-4, 1e-12, 1e-30])
@pytest.mark.parametrize("equal", [True, False])
def test_nothing_overflows_and_rows_sum_to_one(temperature, equal):
    logits = torch.from_numpy(drawn(33, 50)).float()
    if equal:
        logits[1:] = logits[0]
    found = sinkhorn_targets(logits, temperature, Alone())
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(1), torch.ones(33))


def test_without_rows_there_are_no_targets():
    assert sinkhorn_targets(torch.zeros(0, K), 0.04, Alone()).shape == (0, K)


TEMPERATURES = (0.1, 1e-4)


def worker(rank, counts, results):
    start = sum(counts[:rank])
    own = torch.from_numpy(drawn(sum(counts), 1.0)).float()[start : start + counts[rank]]
    found = [sinkhorn_targets(own, temperature, ProcessGroup()) for temperature in TEMPERATURES]
    torch.save(found, f"{results}{rank}")


@pytest.mark.numerics
@pytest.mark.parametrize("counts", [(5, 0), (0, 0), (2, 7)])
def test_workers_share_the_batch_also_if_one_has_no_row(tmp_path, counts):
    results = tmp_path / "rank"
    in_group(worker, 2, tmp_path, counts, str(results))
    found = [torch.load(f"{results}{rank}", weights_only=True) for rank in range(2)]
    for temperature, *parts in zip(TEMPERATURES, *found, strict=True):
        assert tuple(len(part) for part in parts) == counts
        expected = sinkhorn_targets(torch.from_numpy(drawn(sum(counts), 1.0)).float(), temperature, Alone())
        torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-5, atol=1e-7)
