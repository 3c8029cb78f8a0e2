"""What makes few-shot adaptation faster changes nothing: frozen leading blocks, precision, compilation."""

import numpy as np
import pytest
import torch
from foreign_weights import PLAIN, SAM, meta_sam, shaken
from torch import nn

from mricore.config.few_shot import FewShot
from mricore.errors import UserError
from mricore.evaluation.contender import Contender
from mricore.evaluation.few_shot.judge import Judge
from mricore.evaluation.few_shot.segmenter import build_segmenter
from mricore.model.embedder import Embedder
from mricore.model.initialise import initialise

SETTINGS = {"sam": SAM, "plain": PLAIN}
EAGER = {"backend": "eager", "fullgraph": True}
LAST = FewShot(image_size=32, adapters_first=0, adapters_last=1, adapter_zero=False)


def segmenter_of(kind, settings=LAST, classes=2):
    embedder = Embedder(SETTINGS[kind], 32, "slice")
    initialise(embedder, torch.Generator().manual_seed(0))
    shaken(embedder.encoder).requires_grad_(False)
    names = ("prompt_encoder.", "mask_decoder.")
    decoder = {name: one for name, one in meta_sam().state_dict().items() if name.startswith(names)}
    contender = Contender(kind, embedder.requires_grad_(False).eval(), "0" * 64, "made for a test", decoder)
    return build_segmenter(contender, classes, settings, 0)


def images(count=2):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def moved(segmenter):
    """A step that changes all that learns by much."""
    segmenter(images()).square().mean().backward()
    with torch.no_grad():
        for one in segmenter.trained().values():
            one -= torch.sign(one.grad) * 0.05


def ways_through(block):
    """Calls of a block, counted."""
    calls = []
    block.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("kind", ["sam", "plain"])
def test_blocks_before_the_first_adapter_and_the_rest_are_the_whole_bit_by_bit(kind):
    segmenter = segmenter_of(kind)
    depth = len(segmenter.encoder.blocks)
    assert segmenter.frozen_blocks() == depth - 1
    both = LAST.model_copy(update={"adapters_first": 1})
    assert segmenter_of(kind, both).frozen_blocks() == 0
    leading = segmenter.leading(images())
    before = segmenter(images())
    assert torch.equal(segmenter.following(leading), before)
    moved(segmenter)
    after = segmenter(images())
    assert not torch.equal(after, before)
    assert torch.equal(segmenter.following(leading), after)


@pytest.mark.parametrize("kind", ["sam", "plain"])
def test_validation_slices_pass_frozen_blocks_once_and_get_the_masks_of_a_whole_pass(kind):
    segmenter = segmenter_of(kind)
    judge = Judge(segmenter, 2, LAST)
    slices = list(np.random.default_rng(0).random((3, 40, 36)))
    first, last = (ways_through(segmenter.encoder.blocks[index]) for index in (0, -1))
    ask = judge.repeatedly(slices)
    found = [ask()]
    moved(segmenter)
    found.append(ask())
    assert (len(first), len(last)) == (3 + 1, 2 * 3 + 1)  # one is the step's
    assert not all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    for image, mask in zip(slices, found[1], strict=True):
        np.testing.assert_array_equal(judge.predicted(image[None]), mask)


def test_no_more_is_kept_than_there_is_room_for():
    segmenter = segmenter_of("sam")
    slices = list(np.random.default_rng(0).random((3, 32, 32)))
    with torch.inference_mode():
        size = segmenter.leading(images(1)).tokens.nbytes
    for room, passes in ((0.0, 6), (2.5 * size, 2 + 1 + 2), (3.0 * size, 3)):
        judge = Judge(segmenter, 2, LAST.model_copy(update={"kept_gib": room / 2**30}))
        calls = ways_through(segmenter.encoder.blocks[0])
        ask = judge.repeatedly(slices)
        masks = [ask(), ask()]
        assert len(calls) == passes
        for image, mask in zip(slices, masks[1], strict=True):
            np.testing.assert_array_equal(judge.predicted(image[None]), mask)


def test_where_the_first_block_learns_nothing_is_kept():
    settings = LAST.model_copy(update={"adapters_first": 1})
    segmenter = segmenter_of("sam", settings)
    calls = ways_through(segmenter.encoder.blocks[0])
    ask = Judge(segmenter, 2, settings).repeatedly(list(np.zeros((2, 32, 32))))
    assert not calls
    ask()
    assert len(calls) == 2


@pytest.mark.parametrize("kind", ["sam", "plain"])
def test_the_backward_pass_keeps_nothing_of_frozen_leading_blocks(kind):
    segmenter = segmenter_of(kind)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        leading = segmenter.leading(images())
        assert not leading.tokens.requires_grad
        assert not kept
        segmenter.following(leading)
        assert kept


@pytest.mark.parametrize("kind", ["sam", "plain"])
def test_bfloat16_gives_logits_in_float32_that_differ_by_its_rounding(kind):
    exact = segmenter_of(kind)(images()).detach()
    rounded = segmenter_of(kind, LAST.model_copy(update={"precision": "bfloat16"}))
    found = rounded(images()).detach()
    assert found.dtype == torch.float32
    assert 1e-5 < float((found - exact).norm() / exact.norm()) < 0.05
    assert torch.equal(rounded.following(rounded.leading(images())), found)
    assert all(one.dtype == torch.float32 for one in rounded.trained().values())


@pytest.mark.parametrize("backend", ["xformers", "triton"])
def test_kernels_for_gpus_are_refused_before_anything_runs(backend):
    with pytest.raises(UserError, match=rf"few_shot.attention={backend} needs a GPU"):
        segmenter_of("sam", LAST.model_copy(update={"attention": backend}))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's compiler looks at it
def test_a_compiled_segmenter_computes_the_same(monkeypatch):
    """Graphs are taken whole and run as they are, without a compiler of C."""
    parts, really = [], nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: parts.append(self) or really(self, **EAGER))
    compiled, exact = segmenter_of("sam", LAST.model_copy(update={"compile": True})), segmenter_of("sam")
    assert len(parts) == len(exact.encoder.blocks) + 1
    with torch.inference_mode():
        torch.testing.assert_close(compiled(images(1)), exact(images(1)), atol=1e-5, rtol=1e-4)
    for one in (compiled, exact):
        one(images()).square().mean().backward()
    pairs = zip(compiled.trained().values(), exact.trained().values(), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-3)
