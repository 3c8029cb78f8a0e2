"""What the encoders cost: operations as counted by torch, and never a wait for the device."""

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mricore.config.encoders import plain_vit_b, sam_vit_b
from mricore.config.schema import Head, Mae, Model
from mricore.model.drop_path import Kept
from mricore.model.encoder import build_encoder
from mricore.model.mae_network import MaeNetwork
from mricore.model.masked import MaskedPatches
from mricore.model.network import Network
from mricore.model.segment_anything_class import image_encoder


def gigaflops(build, size, *parts):
    """Of one forward pass of one image through a module (and a part that takes its grid); never computed."""
    with torch.device("meta"), torch.no_grad():
        module, image = build(), torch.empty(1, 3, size, size)
        with FlopCounterMode(display=False) as counter:
            made = module(image)
            for part in parts:
                getattr(module, part)(made.grid)
    return counter.get_total_flops() / 1e9


def sams(size):
    """What segment_anything's class costs, built for this size."""
    settings = sam_vit_b().model_copy(update={"native_grid": size // 16})
    return gigaflops(lambda: image_encoder(settings), size)


def ours(size):
    return gigaflops(lambda: build_encoder(sam_vit_b()), size, "to_neck")


@pytest.mark.numerics
@pytest.mark.parametrize(("size", "expected"), [(224, 35.126), (96, 6.378)])
def test_a_plain_encoder_costs_what_vit_b_does(size, expected):
    """Positions at 96 px are resampled, which counts too; the reference has a classifier."""
    found = gigaflops(lambda: build_encoder(plain_vit_b()), size)
    assert found == pytest.approx(expected - 2 * 768 * 1000 / 1e9, rel=1e-3)


@pytest.mark.numerics
def test_sams_encoder_costs_at_224_px_little_more_than_segment_anythings():
    """Relative positions widen queries and keys from 64 to 96 channels."""
    assert sams(224) == pytest.approx(35.351, abs=1e-3)
    assert sams(224) < ours(224) < 1.02 * sams(224)


@pytest.mark.numerics
def test_sams_encoder_pads_nothing_at_96_px():
    """Segment_anything pads 36 tokens to 196."""
    assert sams(96) == pytest.approx(13.284, abs=1e-3)
    assert ours(96) < 6.5


@pytest.mark.numerics
def test_sams_encoder_costs_at_1024_px_what_wider_heads_cost():
    """Without windows a head is widened from 64 to 192 channels, values too, so that a fused kernel fits."""
    widened = 2 * 2 * 128 * 12 * 4096**2 * 4  # logits and values, 4 blocks
    in_windows = 2 * 32 * 12 * 25 * 196**2 * 8  # logits, 8 blocks
    tables = (
        2 * 64 * 12 * (4096 * (254 - 128) * 4 + 25 * 196 * (54 - 28) * 8)
    )  # all offsets, not the used ones
    unpadded = 2 * 768**2 * (25 * 196 - 4096) * 8  # what windows are padded with is not projected
    assert sams(1024) == pytest.approx(972.077, abs=1e-3)
    more = widened + in_windows + tables - unpadded
    assert ours(1024) == pytest.approx(sams(1024) + more / 1e9, abs=1e-2)


SIZES = {"dim": 16, "depth": 2, "heads": 2, "patch": 4, "native_grid": 8}
MODELS = {
    "sam": Model(window=5, global_blocks=(1,), neck_dim=4, **SIZES),
    "sam, mean": Model(readout="mean", window=3, global_blocks=(1,), neck_dim=4, **SIZES),
    "plain": Model(kind="plain", readout="class", **SIZES),
    "plain, mean": Model(kind="plain", readout="mean", **SIZES),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shared", [True, False])
def test_no_step_of_the_network_waits_for_the_device(model, shared):
    """Fake tensors have no values, so whatever must know one on the host (nonzero, item, ...) fails."""
    head = Head(prototypes=12, hidden=16, bottleneck=8, shared=shared)
    with FakeTensorMode():
        network = Network(MODELS[model], head)
        masked = MaskedPatches(
            torch.zeros(4, 4, 4, dtype=torch.bool), torch.zeros(5, dtype=torch.int64), torch.zeros(5)
        )
        kept = Kept(torch.zeros(2, dtype=torch.int64), 2.0)
        drop = [(kept, kept)] * 2
        out = network(torch.zeros(4, 1, 16, 16), masked, torch.zeros(6, 1, 8, 8), True, (drop, drop))
        (out.image_logits.sum() + out.patch_logits.sum() + out.local_logits.sum()).backward()
        assert network.mask_token.grad.shape == (16,)


@pytest.mark.parametrize("model", ["sam, mean", "plain", "plain, mean"])
@pytest.mark.parametrize("compat", ["none", "sam"])
def test_no_step_of_the_autoencoder_waits_for_the_device(model, compat):
    settings = MODELS[model].model_copy(update={"window": 5, "compat": compat})
    with FakeTensorMode():
        network = MaeNetwork(settings, Mae(decoder_dim=8, decoder_depth=1, decoder_heads=2))
        keep, hidden = torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3, 12, dtype=torch.int64)
        made = network(torch.zeros(3, 1, 16, 16), keep, hidden)
        made.patches.sum().backward()
        assert network.decoder.mask_token.grad.shape == (8,)


def test_a_boolean_index_would_have_been_noticed():
    with FakeTensorMode(), pytest.raises(DynamicOutputShapeException):
        torch.zeros(4)[torch.zeros(4, dtype=torch.bool)]
