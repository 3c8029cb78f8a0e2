"""Three ways to one vector per slice."""

import pytest
import torch
import torch.nn.functional as F
from vit_reference import layer_norm, linear, mlp, random_state

from mricore.config.schema import Model
from mricore.model.image_token import ImageToken
from mricore.model.tokens import Tokens, VisibleTokens

SIZES = {"dim": 16, "depth": 2, "heads": 2, "patch": 4, "native_grid": 4}
ATTENTION = Model(global_blocks=(1,), **SIZES)
MEAN = Model(kind="plain", readout="mean", **SIZES)
CLASS = Model(kind="plain", readout="class", **SIZES)


def token_of(settings):
    made = ImageToken(settings)
    return made, random_state(made)


def tokens(class_token=True):
    generator = torch.Generator().manual_seed(1)
    grid = torch.randn(3, 2, 5, 16, generator=generator, dtype=torch.float64)
    return Tokens(grid, torch.randn(3, 16, generator=generator, dtype=torch.float64) if class_token else None)


@pytest.mark.numerics
def test_attention_pooling_equals_its_formula():
    token, state = token_of(ATTENTION)
    given = tokens(class_token=False)
    found, patches = token(given)
    for row in range(3):
        normed = layer_norm(given.grid[row].flatten(0, 1), state, "norm")
        torch.testing.assert_close(patches[row], normed, atol=1e-12, rtol=0)
        keys, values = linear(normed, state, "pool.kv").split(16, dim=1)
        heads = []
        for part in (slice(0, 8), slice(8, 16)):
            logits = keys[:, part] @ state["pool.query"][part] / 8**0.5
            heads.append(torch.softmax(logits, 0) @ values[:, part])
        pooled = linear(torch.cat(heads), state, "pool.proj")
        pooled = pooled + mlp(layer_norm(pooled, state, "pool.norm_mlp"), state, "pool.mlp")
        expected = layer_norm(pooled, state, "pool.norm_token")
        torch.testing.assert_close(found[row], expected, atol=1e-12, rtol=0)


def test_the_mean_is_over_normalised_patches_that_are_not_masked():
    token, state = token_of(MEAN)
    given, masks = tokens(), torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    masks[0], masks[1] = False, True
    found, patches = token(given, masks)
    normed = layer_norm(given.grid, state, "norm")
    torch.testing.assert_close(patches, normed.flatten(1, 2), atol=1e-12, rtol=0)
    torch.testing.assert_close(found[0], normed[0].mean((0, 1)), atol=1e-12, rtol=0)
    assert not found[1].any()  # nothing to see
    torch.testing.assert_close(found[2], normed[2][~masks[2]].mean(0), atol=1e-12, rtol=0)
    torch.testing.assert_close(token(given)[0], normed.mean((1, 2)), atol=1e-12, rtol=0)


def test_the_class_token_is_normalised_like_patches():
    token, state = token_of(CLASS)
    given = tokens()
    found, _ = token(given, torch.ones(3, 2, 5, dtype=torch.bool))
    torch.testing.assert_close(found, layer_norm(given.class_token, state, "norm"), atol=1e-12, rtol=0)


def test_users_get_patches_before_the_norm_from_sam_and_after_it_from_a_plain_encoder():
    given = tokens()
    assert token_of(ATTENTION)[0].dense(given) is given.grid
    for settings in (MEAN, CLASS):
        token, state = token_of(settings)
        torch.testing.assert_close(token.dense(given), layer_norm(given.grid, state, "norm"))


@pytest.mark.parametrize("settings", [ATTENTION, MEAN, CLASS])
def test_visible_patches_are_read_out_like_a_grid(settings):
    token, _ = token_of(settings)
    given = tokens()
    for one, two in zip(
        token.of_visible(VisibleTokens(given.grid.flatten(1, 2), given.class_token)),
        token(given),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("settings", "parts"), [(ATTENTION, {"norm", "pool"}), (MEAN, {"norm"}), (CLASS, {"norm"})]
)
def test_only_attention_pooling_has_weights_besides_the_norm(settings, parts):
    assert {name.split(".")[0] for name in ImageToken(settings).state_dict()} == parts


def test_the_norm_is_that_of_torch_with_the_small_epsilon():
    token, state = token_of(MEAN)
    given = tokens()
    small = Tokens(given.grid * 1e-3, None)  # so that epsilon shows
    expected = F.layer_norm(small.grid, (16,), state["norm.weight"], state["norm.bias"], eps=1e-6)
    torch.testing.assert_close(token(small)[1], expected.flatten(1, 2), atol=1e-12, rtol=0)
