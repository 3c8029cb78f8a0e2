"""Each loss against its slow reference, its golden value, and its corner cases."""

import math

import numpy as np
import pytest
import reference
import torch

from mricore.config.schema import Objective
from mricore.model.network import Projections
from mricore.objective.communication import Alone
from mricore.objective.dino import dino_shares
from mricore.objective.dinov2 import Centers, dinov2_losses
from mricore.objective.ibot import ibot_share
from mricore.objective.koleo import koleo_share
from mricore.objective.targets import centered_targets, sinkhorn_targets, updated_center

B, L, K = 5, 3, 11


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def tensor(array):
    return torch.from_numpy(np.asarray(array)).double()


def probabilities(rng, *shape):
    return np.apply_along_axis(reference.softmax, -1, rng.normal(size=(*shape, K)))


@pytest.mark.numerics
def test_dino_equals_the_reference(rng):
    globals_, locals_ = rng.normal(size=(2, B, K)), rng.normal(size=(L, B, K))
    targets = probabilities(rng, 2, B)
    got = dino_shares(
        tensor(globals_).flatten(0, 1), tensor(locals_).flatten(0, 1), tensor(targets).flatten(0, 1), 0.1, B
    )
    # the package computes logarithms in float32
    assert [float(value) for value in got] == pytest.approx(
        reference.dino(globals_, locals_, targets, 0.1), rel=1e-5
    )


@pytest.mark.numerics
def test_ibot_equals_the_reference(rng):
    masks = rng.random((2 * B, 4, 4)) < 0.3
    masks[3] = False
    logits, targets = rng.normal(size=(masks.sum(), K)), probabilities(rng, masks.sum())
    got = ibot_share(tensor(logits), tensor(targets), torch.from_numpy(masks), 0.1, B)
    assert float(got) == pytest.approx(reference.ibot(logits, targets, masks, 0.1), rel=1e-5)


@pytest.mark.numerics
def test_koleo_equals_the_reference_also_with_duplicates(rng):
    tokens = rng.normal(size=(8, 16))
    tokens[5] = tokens[2]
    got = koleo_share(tensor(tokens), [8], Alone())
    assert float(got) == pytest.approx(reference.koleo(tokens), rel=1e-5)


@pytest.mark.numerics
def test_sinkhorn_equals_the_reference_and_balances_prototypes(rng):
    logits = rng.normal(size=(64, K)) * 0.1
    got = sinkhorn_targets(tensor(logits), 0.05, Alone()).numpy()
    np.testing.assert_allclose(got, reference.sinkhorn(logits, 0.05), rtol=2e-5)
    np.testing.assert_allclose(got.sum(1), 1, rtol=1e-5)
    plain = np.apply_along_axis(reference.softmax, 1, logits / 0.05).sum(0)
    assert np.ptp(got.sum(0)) < 0.2 * np.ptp(plain)


def test_sinkhorn_survives_large_logits_and_no_rows():
    assert torch.isfinite(sinkhorn_targets(torch.randn(6, K) * 50, 0.04, Alone())).all()
    assert sinkhorn_targets(torch.zeros(0, K), 0.04, Alone()).shape == (0, K)


@pytest.mark.numerics
def test_centering_subtracts_the_center_and_the_center_follows_the_batch(rng):
    logits, center = rng.normal(size=(7, K)), rng.normal(size=K)
    expected = [reference.softmax((row - center) / 0.07) for row in logits]
    np.testing.assert_allclose(
        centered_targets(tensor(logits), tensor(center), 0.07).numpy(), expected, rtol=1e-4
    )
    moved = updated_center(tensor(center), tensor(logits), 0.9, Alone()).numpy()
    np.testing.assert_allclose(moved, 0.9 * center + 0.1 * logits.mean(0), rtol=1e-5)
    same = updated_center(tensor(center), torch.zeros(0, K), 0.9, Alone()).numpy()
    np.testing.assert_allclose(same, center)


@pytest.mark.numerics
def test_golden_values_at_uniform_answers():
    """With 65,536 prototypes, 8 local crops, half of the crops masked, as in published configurations."""
    prototypes, slices = 65536, 2
    uniform = torch.full((2 * slices, prototypes), 1 / prototypes)
    zeros = torch.zeros(2 * slices, prototypes)
    across, local = dino_shares(zeros, zeros.repeat(4, 1), uniform, 0.1, slices)
    masks = torch.zeros(2 * slices, 2, 2, dtype=torch.bool)
    masks[:slices, 0] = True
    ibot = ibot_share(zeros, uniform, masks, 0.1, slices)
    assert float(across) == pytest.approx(1.232, abs=1e-3)
    assert float(local) == pytest.approx(9.858, abs=1e-3)
    assert float(ibot) == pytest.approx(5.545, abs=1e-3)
    assert float(across + local) == pytest.approx(math.log(prototypes), rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_koleo_of_equal_or_single_tokens_is_finite_with_a_finite_gradient(count):
    tokens = torch.ones(count, 4, requires_grad=True)
    loss = koleo_share(tokens, [count], Alone())
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(tokens.grad).all()


def projections(rng, masked, requires_grad=False, locals_=True):
    def random(*shape):
        return torch.from_numpy(rng.normal(size=shape).astype(np.float32)).requires_grad_(requires_grad)

    return Projections(
        random(2 * B, K), random(masked, K), random(L * B, K) if locals_ else None, random(2 * B, 6)
    )


@pytest.mark.parametrize("centering", ["center", "sinkhorn"])
@pytest.mark.parametrize("locals_", [True, False])
@pytest.mark.parametrize("any_mask", [True, False])
def test_the_total_is_the_weighted_sum_and_has_a_gradient(rng, centering, locals_, any_mask):
    settings = Objective(centering=centering, dino_weight=0.7, ibot_weight=0.5, koleo_weight=0.3)
    masks = torch.zeros(2 * B, 3, 3, dtype=torch.bool)
    masks[:B, 1] = any_mask
    student = projections(rng, int(masks.sum()), requires_grad=True, locals_=locals_)
    teacher = projections(rng, int(masks.sum()))
    centers = Centers(torch.zeros(K), torch.zeros(K))
    losses, following = dinov2_losses(student, teacher, masks, centers, settings, 0.05, [B], Alone())
    expected = 0.7 * (losses.dino_global + losses.dino_local) + 0.5 * losses.ibot + 0.3 * losses.koleo
    torch.testing.assert_close(losses.total, expected)
    assert (losses.ibot > 0) == any_mask
    losses.total.backward()
    assert torch.isfinite(student.image_logits.grad).all()
    assert (following.image.abs().sum() > 0) == (centering == "center")
