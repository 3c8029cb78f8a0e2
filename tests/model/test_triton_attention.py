"""The kernels of ``model.attention=triton`` against the formula in float64: on a GPU, or interpreted.

Triton's interpreter runs on any machine that has Triton (``pip install triton``), in a process of its own, as
it is switched on before Triton is loaded.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from mricore.config.schema import Model
from mricore.model import relative_attention
from mricore.model.compiling import compile_parts
from mricore.model.initialise import initialise
from mricore.model.sam_encoder import SamEncoder

CASES = (
    # batch, tokens, heads, channels, places of relative positions, codes that differ between images
    (2, 5, 2, 16, 0, False),
    (2, 36, 2, 64, 12, False),
    (1, 70, 2, 32, 17, True),
    (1, 196, 1, 64, 28, False),
    (2, 64, 1, 80, 40, False),
    (1, 150, 1, 8, 0, False),
)


def formula(qkv, towards, codes, scale):
    queries, keys, values = (part.transpose(1, 2) for part in qkv.unbind(2))
    logits = scale * queries @ keys.mT
    if towards is not None:
        logits = logits + towards @ (codes.mT if codes.ndim == 2 else codes[:, None].mT)
    return (logits.softmax(-1) @ values).transpose(1, 2)


def inputs(case, dtype, device):
    batch, tokens, heads, channels, places, differ = case
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(batch, tokens, 3, heads, channels, generator=generator)
    gradient = torch.randn(batch, tokens, heads, channels, generator=generator)
    towards = codes = None
    if places:
        towards = torch.randn(tokens, batch, heads, places, generator=generator)
        shape = (batch, tokens) if differ else (tokens,)
        index = torch.randint(0, places, (*shape, 2), generator=generator)
        codes = torch.zeros(*shape, places).scatter_(-1, index, 1.0).to(device, dtype)
        towards = towards.to(device, dtype).permute(1, 2, 0, 3)  # lies token by token, as in training
    return qkv.to(device, dtype), towards, codes, gradient.to(device, dtype)


def largest_error(case, dtype, device):
    """Of output and gradients, relative to their norms."""
    from mricore.model.triton_attention import fused_attention

    qkv, towards, codes, gradient = inputs(case, dtype, device)
    given = [part for part in (qkv, towards) if part is not None]
    exact = [part.double().requires_grad_() for part in given]
    wide_codes = None if codes is None else codes.double()
    wanted = formula(exact[0], exact[1] if len(exact) > 1 else None, wide_codes, case[3] ** -0.5)
    slopes = torch.autograd.grad(wanted, exact, gradient.double())
    leaves = [part.detach().requires_grad_() for part in given]
    found = fused_attention(leaves[0], leaves[1] if len(leaves) > 1 else None, codes, case[3] ** -0.5)
    pairs = zip((found, *torch.autograd.grad(found, leaves, gradient)), (wanted, *slopes), strict=True)
    return max(float((one.double() - other).norm().detach() / other.norm().detach()) for one, other in pairs)


@pytest.mark.numerics
def test_the_kernels_are_the_formula_in_the_interpreter():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("no Triton: pip install triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    errors = [float(line) for line in ran.stdout.split()]
    assert len(errors) == len(CASES)
    assert max(errors) < 1e-5


def test_an_encoder_hands_the_kernels_what_they_take(monkeypatch):
    """On any machine, with the formula in place of the kernels: windows, whole grids and chosen patches."""
    monkeypatch.setattr(relative_attention, "fused", lambda *given: formula(*given).flatten(2))
    settings = Model(dim=32, depth=2, heads=2, window=7, global_blocks=(1,), native_grid=20)
    images, keep = torch.rand(2, 3, 160, 112), torch.tensor([[0, 3, 5, 11], [1, 2, 8, 9]])
    found = []
    for backend in ("sdpa", "triton"):
        encoder = SamEncoder(settings.model_copy(update={"attention": backend}))
        initialise(encoder, torch.Generator().manual_seed(0))
        with torch.no_grad():
            for block in encoder.blocks:  # tables begin as zeros
                block.attn.rel_pos_h.copy_(torch.linspace(-1, 1, block.attn.rel_pos_h.numel()).view(-1, 16))
                block.attn.rel_pos_w.copy_(block.attn.rel_pos_h.flip(0))
            found.append((encoder(images).grid, encoder.visible(images[..., :64, :64], keep)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_the_kernels_are_the_formula_on_a_gpu(case, dtype, tolerance):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert largest_error(case, dtype, torch.device("cuda")) < tolerance


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch.compile looks at it
def test_an_encoder_with_these_kernels_is_the_same_encoder():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    settings = Model(dim=128, depth=4, heads=2, window=7, global_blocks=(1, 3), native_grid=20)
    images, found = torch.rand(2, 3, 320, 240, generator=torch.Generator().manual_seed(0)).cuda(), []
    for backend, compiled in (("sdpa", False), ("triton", False), ("triton", True)):
        encoder = SamEncoder(settings.model_copy(update={"attention": backend}))
        initialise(encoder, torch.Generator().manual_seed(0))
        encoder.cuda()
        if compiled:
            compile_parts(encoder.blocks)
        grid = encoder(images).grid
        grid.square().mean().backward()
        found.append([grid, *(one.grad for one in encoder.parameters() if one.grad is not None)])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    for each in CASES:
        print(largest_error(each, torch.float32, torch.device("cpu")))
