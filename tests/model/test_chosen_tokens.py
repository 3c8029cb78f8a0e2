"""What the class token's readout leaves out of the last block changes no output and no gradient."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from vit_reference import random_state

from mricore.config.schema import Head, Model
from mricore.model.drop_path import draw_kept, kept_of
from mricore.model.masked import masked_patches
from mricore.model.network import Network, Projections

CROPS, CPU = 4, torch.device("cpu")
SIZES = {"dim": 16, "heads": 2, "patch": 4, "native_grid": 8}
HEAD = Head(prototypes=12, hidden=16, bottleneck=8)
MASKS = {"some": (0, 16, 3, 1), "none": (0, 0, 0, 0), "all": (16, 16, 16, 16)}
DROPS = ("none", "every block", "last block keeps no row")


def network(depth=3):
    made = Network(Model(kind="plain", readout="class", depth=depth, **SIZES), HEAD)
    random_state(made)
    return made


def inputs(masked="some", locals_=True):
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(1)
    masks = np.zeros((CROPS, 16), bool)
    for mask, count in zip(masks, MASKS[masked], strict=True):
        mask[rng.permutation(16)[:count]] = True
    large, small = (
        torch.rand(crops, 1, side, side, generator=generator, dtype=torch.float64)
        for crops, side in ((CROPS, 16), (2 * CROPS, 8))
    )
    return large, masked_patches(masks.reshape(CROPS, 4, 4), CPU), small if locals_ else None


def drop_paths(kind, depth):
    if kind == "none":
        return None, None
    rng, paths = np.random.default_rng(2), []
    for rows in (CROPS, 2 * CROPS):
        kept = draw_kept(rng, depth, 2 * rows, 0.4)  # this worker's rows are every other one
        if kind == "last block keeps no row":
            kept[-1] = np.arange(2 * rows) % 2 == 1
        paths.append(kept_of(kept, np.arange(0, 2 * rows, 2), CPU))
    return tuple(paths)


def everything(made, globals_, masked, locals_, hide, drop):
    """The same projections of an encoder that makes all tokens."""
    masks = masked.grid if hide else None
    tokens = made.encoder(globals_, masks, made.mask_token, drop[0])
    images, patches = made.token(tokens, masks)
    chosen = patches.flatten(0, 1)[torch.from_numpy(np.flatnonzero(masked.grid.numpy()))]
    small = None
    if locals_ is not None:
        small = made.head(made.token(made.encoder(locals_, drop=drop[1]))[0])
    return Projections(made.head(images), made.head(chosen), small, images)


def compare(made, *given):
    """Outputs and gradients of all parameters to 1e-12."""
    gradients = []
    for one in (made(*given), everything(made, *given)):
        parts = [part for part in vars(one).values() if part is not None]
        generator = torch.Generator().manual_seed(3)
        weights = [torch.randn(part.shape, generator=generator, dtype=part.dtype) for part in parts]
        total = sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))
        named = dict(made.named_parameters())
        found = torch.autograd.grad(total, list(named.values()), materialize_grads=True)
        gradients.append((parts, dict(zip(named, found, strict=True))))
    (parts, found), (expected_parts, expected) = gradients
    for part, whole in zip(parts, expected_parts, strict=True):
        torch.testing.assert_close(part, whole, atol=1e-12, rtol=1e-12)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=1e-12, msg=name)
    return found


@pytest.mark.numerics
@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("masked", MASKS)
@pytest.mark.parametrize("hide", [True, False])
def test_outputs_and_gradients_equal_those_of_an_encoder_that_makes_all_tokens(drop, masked, hide):
    globals_, masks, locals_ = inputs(masked)
    compare(network(), globals_, masks, locals_, hide, drop_paths(drop, 3))


@pytest.mark.numerics
@pytest.mark.parametrize("depth", [1, 3])
def test_so_do_those_of_global_crops_alone_and_of_an_encoder_of_one_block(depth):
    globals_, masks, _ = inputs(locals_=False)
    found = compare(network(depth), globals_, masks, None, True, drop_paths("every block", depth))
    assert all(gradient.any() for name, gradient in found.items() if "prototypes" not in name)


@pytest.mark.parametrize("readout", ["class", "mean"])
def test_only_the_class_token_spares_the_last_block(readout):
    """Operations left out, counted by hand: queries, logits and values, output projection, MLP."""
    depth, dim, globals_, masked, locals_ = 3, 16, *inputs()
    made = Network(Model(kind="plain", readout=readout, depth=depth, **SIZES), HEAD)
    random_state(made)
    counts = []
    for forward in (made, lambda *given: everything(made, *given)):
        # the counter knows the operations of this kernel
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            forward(globals_, masked, locals_, True, (None, None))
        counts.append(counter.get_total_flops())
    per_row = 2 * dim**2 * (1 + 8)  # output projection and MLP
    of_globals = per_row * (CROPS * 17 - CROPS - len(masked.index))
    of_locals = 2 * CROPS * (5 - 1) * (per_row + 2 * dim**2 + 2 * 2 * 5 * dim)
    assert counts[1] - counts[0] == (of_globals + of_locals if readout == "class" else 0)
