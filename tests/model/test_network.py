"""The network of DINOv2: what student and teacher see, and which head projects what."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mricore.config.schema import Head, Model
from mricore.errors import UserError
from mricore.model.drop_path import draw_kept, kept_of
from mricore.model.input_norm import InputNorm
from mricore.model.masked import masked_patches
from mricore.model.network import build_network
from mricore.model.sam_encoder import SamEncoder
from mricore.model.weights import load_strictly

SIZES = {"dim": 16, "depth": 2, "heads": 2, "patch": 4, "native_grid": 8}
SAM = Model(window=5, global_blocks=(1,), neck_dim=4, **SIZES)
MODELS = {
    "sam": SAM,
    "sam, mean": SAM.model_copy(update={"readout": "mean"}),
    "plain": Model(kind="plain", readout="class", **SIZES),
    "plain, mean": Model(kind="plain", readout="mean", **SIZES),
}
HEAD = Head(prototypes=12, hidden=16, bottleneck=8)
CPU = torch.device("cpu")


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def network(model=SAM, seed=0, shared=True):
    head = HEAD.model_copy(update={"shared": shared})
    return build_network(model, head, torch.Generator().manual_seed(seed))


def masks_of(*true, crops=2):
    masks = np.zeros((crops, 4, 4), bool)
    for place in true:
        masks[place] = True
    return masked_patches(masks, CPU)


def test_a_network_is_complete_and_a_function_of_its_seed(model):
    one, two, other = network(model, 0), network(model, 0), network(model, 1)
    assert all(torch.isfinite(parameter).all() for parameter in one.parameters())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.encoder.pos_embed, other.encoder.pos_embed)


def test_random_weights_have_the_sizes_of_dinov2():
    made = network(Model(kind="plain", readout="class", dim=256, depth=1, heads=2, native_grid=14))
    encoder = made.encoder
    assert encoder.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
    assert encoder.cls_token.std().item() == pytest.approx(1e-6, rel=0.3)
    assert encoder.blocks[0].mlp.lin1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not encoder.blocks[0].mlp.lin1.bias.any()
    assert (encoder.blocks[0].norm1.weight == 1).all()
    assert (made.head.prototypes_length == 1).all()
    assert not made.mask_token.any()


def test_the_student_does_not_see_masked_patches_and_the_teacher_does(model):
    crops = torch.rand(2, 1, 16, 16)
    masked = masks_of((0, 1, 2))
    changed = crops.clone()
    changed[0, :, 4:8, 8:12] = 0
    made = network(model)
    with torch.no_grad():
        student, same = (made(views, masked, None, True) for views in (crops, changed))
        teacher, differs = (made(views, masked, None, False) for views in (crops, changed))
    assert torch.equal(student.image_logits, same.image_logits)
    assert torch.equal(student.patch_logits, same.patch_logits)
    assert not torch.equal(teacher.image_logits, differs.image_logits)
    assert not torch.equal(teacher.patch_logits, differs.patch_logits)
    assert teacher.patch_logits.shape == (1, 12)
    assert teacher.image_tokens.shape == (2, 16)
    assert teacher.local_logits is None


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("any_mask", [True, False])
def test_every_trainable_parameter_gets_a_gradient(model, any_mask, shared):
    made = network(model, shared=shared)
    masks = np.zeros((4, 4, 4), bool)
    masks[:, 0] = any_mask
    out = made(torch.rand(4, 1, 16, 16), masked_patches(masks, CPU), torch.rand(6, 1, 8, 8), True)
    (out.image_logits.sum() + out.patch_logits.sum() + out.local_logits.sum()).backward()
    missing = {name for name, parameter in made.named_parameters() if parameter.grad is None}
    assert missing == {name for name, _ in made.named_parameters() if ".neck." in name}
    assert not any(made.get_parameter(name).requires_grad for name in missing)


@pytest.mark.parametrize("shared", [True, False])
def test_each_head_is_called_once_and_projects_what_it_should(model, shared):
    made = network(model, shared=shared)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    heads = [made.head] if shared else [made.head, made.patch_head]
    calls = []
    for head in heads:
        head.register_forward_hook(lambda head, given, _: calls.append(head))
    globals_, locals_ = torch.rand(2, 1, 16, 16), torch.rand(6, 1, 8, 8)
    masked = masks_of((0, 1, 2), (1, 3, 0), (1, 0, 3))
    with torch.no_grad():
        out = made(globals_, masked, locals_, True)
        assert len(calls) == len(heads)
        tokens = made.encoder(InputNorm()(globals_), masked.grid, made.mask_token)
        images, patches = made.token(tokens, masked.grid)
        chosen = torch.stack([patches[0, 6], patches[1, 3], patches[1, 12]])  # row-major
        small, _ = made.token(made.encoder(InputNorm()(locals_)))
        torch.testing.assert_close(out.image_tokens, images)
        torch.testing.assert_close(out.image_logits, made.head(images))
        torch.testing.assert_close(out.patch_logits, heads[-1](chosen))
        torch.testing.assert_close(out.local_logits, made.head(small))


def test_drop_path_reaches_global_and_local_crops_apart(model):
    made = network(model)
    globals_, locals_ = torch.rand(4, 1, 16, 16), torch.rand(4, 1, 8, 8)
    masked = masks_of((0, 1, 2), crops=4)
    drop = kept_of(draw_kept(np.random.default_rng(0), 2, 4, 0.5), np.arange(4), CPU)
    with torch.no_grad():
        whole = made(globals_, masked, locals_, True)
        first = made(globals_, masked, locals_, True, (drop, None))
        second = made(globals_, masked, locals_, True, (None, drop))
    torch.testing.assert_close(first.local_logits, whole.local_logits)
    torch.testing.assert_close(second.image_logits, whole.image_logits)
    assert (first.image_logits - whole.image_logits).abs().max() > 1e-3
    assert (second.local_logits - whole.local_logits).abs().max() > 1e-3


def test_bfloat16_stays_close_to_float32(model):
    """Every part takes tokens of either precision, also with drop path and without a row."""
    made = network(model)
    globals_, locals_ = torch.rand(4, 1, 16, 16), torch.rand(4, 1, 8, 8)
    masked = masks_of((0, 1, 2), crops=4)
    rng = np.random.default_rng(0)
    drop = tuple(kept_of(draw_kept(rng, 2, 4, 0.5), np.arange(4), CPU) for _ in range(2))
    given = (globals_, masked, locals_, True, drop)
    with torch.autocast("cpu", torch.bfloat16):
        rough = made(*given)
        made(globals_[:0], masks_of(crops=0), locals_[:0], True)
    exact = made(*given)
    for name in ("image_logits", "patch_logits", "local_logits"):
        torch.testing.assert_close(getattr(rough, name).float(), getattr(exact, name), atol=0.05, rtol=0)
    rough.image_logits.square().sum().backward()
    assert torch.isfinite(made.encoder.pos_embed.grad).all()


def test_loading_names_what_does_not_fit():
    encoder = SamEncoder(SAM)
    tensors = encoder.state_dict()
    for change, told in (
        ({"pos_embed": torch.zeros(1, 2, 2, 16)}, "pos_embed has shape"),
        ({"extra": torch.zeros(1)}, "extra is unknown"),
    ):
        with pytest.raises(UserError, match=told):
            load_strictly(encoder, {**tensors, **change})
    with pytest.raises(UserError, match=r"neck\.0\.weight is missing"):
        load_strictly(encoder, {name: tensor for name, tensor in tensors.items() if name != "neck.0.weight"})


def test_a_local_crop_goes_the_way_of_a_global_one(model):
    crops = torch.rand(2, 1, 16, 16)
    out = network(model)(crops, masks_of(), crops, False)
    torch.testing.assert_close(out.local_logits, out.image_logits)


def test_a_hidden_patch_still_has_its_position(model):
    made, seen = network(model), []
    made.encoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    made(torch.rand(1, 1, 16, 16), masked_patches(np.ones((1, 4, 4), bool), CPU), None, True)
    expected = made.encoder.positions(4, 4) + made.mask_token
    torch.testing.assert_close(seen[0][:, -16:], expected.flatten(1, 2))


def test_prototypes_are_compared_by_cosine():
    head, features = network().head, torch.randn(3, 16)
    with torch.no_grad():
        inner = features
        for index, layer in enumerate(head.layers):
            inner = layer(F.gelu(inner) if index else inner)
        expected = F.normalize(inner, dim=1) @ F.normalize(head.prototypes, dim=1).T
        torch.testing.assert_close(head(features), expected)
