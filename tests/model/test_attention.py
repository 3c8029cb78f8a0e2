"""The kernels behind one function give the same attention."""

import pytest
import torch

from mricore.errors import UserError
from mricore.model.attention import FUSED_FROM, attend, fused, padded_to


def by_hand(queries, keys, values, scale):
    logits = torch.einsum("bhqc,bhkc->bhqk", queries, keys) * scale
    weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return torch.einsum("bhqk,bhkc->bhqc", weights, values)


@pytest.mark.numerics
@pytest.mark.parametrize("keys", [9, FUSED_FROM, FUSED_FROM + 1])
@pytest.mark.parametrize("channels", [(16, 16), (12, 8)])  # the latter is widened for a fused kernel
def test_attention_equals_its_formula_for_few_and_many_keys(keys, channels):
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(2, 3, count, width, generator=generator, dtype=torch.float64, requires_grad=True)
        for count, width in ((5, channels[0]), (keys, channels[0]), (keys, channels[1]))
    ]
    found, expected = attend(*given, 0.3, "sdpa"), by_hand(*given, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    for one, two in zip(
        torch.autograd.grad(found.square().sum(), given),
        torch.autograd.grad(expected.square().sum(), given),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-10, rtol=0)


def test_an_empty_batch_passes_and_carries_a_gradient():
    given = [torch.zeros(0, 3, 400, 8, requires_grad=True) for _ in range(3)]
    found = attend(*given, 1.0, "sdpa")
    assert found.shape == (0, 3, 400, 8)
    found.sum().backward()
    assert given[0].grad.shape == (0, 3, 400, 8)


@pytest.mark.parametrize("backend", ["xformers", "triton"])
def test_kernels_for_cuda_are_refused_without_it(backend):
    tensor = torch.zeros(1, 1, 4, 8)
    with pytest.raises(UserError, match=r"model\.attention=sdpa"):
        attend(tensor, tensor, tensor, 1.0, backend)
    with pytest.raises(UserError, match=r"model\.attention=sdpa"):
        fused(torch.zeros(1, 4, 3, 1, 8), None, None, 1.0)


def test_padding_for_fused_kernels_changes_no_attention():
    queries, keys = (torch.randn(2, 3, 9, 92) for _ in range(2))
    padded = padded_to(96, queries)
    assert padded.shape[-1] == 96
    torch.testing.assert_close(padded @ padded_to(96, keys).mT, queries @ keys.mT)
    assert padded_to(96, padded) is padded


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["sdpa", "xformers"])
@pytest.mark.parametrize("keys", [36, 500])
def test_fused_kernels_on_cuda_equal_the_formula(backend, keys):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if backend == "xformers":
        pytest.importorskip("xformers")
    queries, rest, values = (
        torch.randn(2, 3, count, channels, device="cuda", dtype=torch.bfloat16)
        for count, channels in ((36, 76), (keys, 76), (keys, 64))
    )
    found = attend(queries, rest, values, 0.1, backend)
    expected = by_hand(queries.double(), rest.double(), values.double(), 0.1)
    torch.testing.assert_close(found.double(), expected, atol=2e-2, rtol=2e-2)
    assert attend(queries[:0], rest[:0], values[:0], 0.1, backend).shape == (0, 3, 36, 64)
