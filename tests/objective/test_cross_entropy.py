"""The cross-entropy with its own backward against torch's autograd, and where rounding could hurt it."""

import numpy as np
import pytest
import reference
import torch

from mricore.objective import passes
from mricore.objective.cross_entropy import cross_entropy

L, N, K, TEMPERATURE = 3, 7, 13, 0.1


@pytest.fixture(params=[2 * K, passes.CPU_BLOCK], ids=["many blocks", "one block"])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(passes, "CPU_BLOCK", request.param)


def drawn(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def given(dtype=torch.float64):
    """Logits of L views, targets that do not sum to one, weights."""
    targets = torch.softmax(drawn(N, K, seed=1), -1) * torch.linspace(0.5, 2, N, dtype=torch.float64)[:, None]
    return drawn(L, N, K, dtype=dtype), targets.to(dtype), drawn(N, seed=2).abs().to(dtype)


def plain(logits, targets, weights, temperature):
    rows = -(targets * torch.log_softmax(logits / temperature, dim=-1)).sum(-1)
    return (rows * weights).sum()


@pytest.mark.numerics
@pytest.mark.usefixtures("_blocks")
def test_value_and_gradient_equal_autograd():
    logits, targets, weights = given()
    logits.requires_grad_()
    values = [f(logits, targets, weights, TEMPERATURE) for f in (cross_entropy, plain)]
    gradients = [torch.autograd.grad(3 * value, logits)[0] for value in values]
    torch.testing.assert_close(*values, rtol=1e-12, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-13)


@pytest.mark.numerics
@pytest.mark.usefixtures("_blocks")
def test_the_gradient_equals_finite_differences():
    logits, targets, weights = given()
    for views in (logits, logits[0]):
        views = (0.1 * views).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: cross_entropy(x, targets, weights, TEMPERATURE), (views,))


@pytest.mark.numerics
def test_the_value_equals_the_slow_reference():
    logits, targets, weights = given()
    expected = sum(
        float(weights[row]) * reference.cross_entropy(targets[row].numpy(), view[row].numpy(), TEMPERATURE)
        for view in logits
        for row in range(N)
        # the reference takes distributions; a multiple of one has that multiple of its loss
    )
    found = float(cross_entropy(logits, targets, weights, TEMPERATURE))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.numerics
def test_half_precision_is_widened_and_its_gradient_is_rounded_once():
    logits, targets, weights = given(torch.float32)
    rounded = logits.bfloat16().requires_grad_()
    exact = rounded.detach().float().requires_grad_()
    values = [cross_entropy(x, targets, weights, TEMPERATURE) for x in (rounded, exact)]
    for value in values:
        value.backward()
    torch.testing.assert_close(*values, rtol=0, atol=0)
    torch.testing.assert_close(rounded.grad, exact.grad.bfloat16(), rtol=0, atol=0)


def test_a_common_offset_of_the_logits_changes_nothing():
    logits, targets, weights = given()
    found = [cross_entropy(logits + offset, targets, weights, TEMPERATURE) for offset in (0.0, 1e5)]
    torch.testing.assert_close(*found, rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_far_logits_overflow_nowhere(scale):
    logits, targets, weights = given(torch.float32)
    logits = (logits * scale).requires_grad_()
    value = cross_entropy(logits, targets, weights, TEMPERATURE)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_a_second_derivative_is_refused_and_not_wrong():
    logits, targets, weights = given()
    logits.requires_grad_()
    value = cross_entropy(logits, targets, weights, TEMPERATURE)
    gradient = torch.autograd.grad(value**2, logits, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_nothing_to_compare_is_no_loss():
    logits = torch.zeros(0, K, requires_grad=True)
    value = cross_entropy(logits, torch.zeros(0, K), torch.zeros(0), TEMPERATURE)
    value.backward()
    assert value == 0
    assert logits.grad.shape == (0, K)


def test_what_is_kept_for_the_backward_pass_is_no_third_tensor_of_logits():
    logits, targets, weights = given(torch.float32)
    logits.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda t: t):
        cross_entropy(logits, targets, weights, TEMPERATURE)
    new = [tensor for tensor in kept if tensor.data_ptr() not in (logits.data_ptr(), targets.data_ptr())]
    assert sum(tensor.numel() for tensor in new) <= (L + 2) * N
    assert np.isclose(sum(tensor.numel() for tensor in kept if tensor.numel() > (L + 2) * N), (L + 1) * N * K)
