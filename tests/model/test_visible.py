"""Showing an encoder some patches equals showing it all and forbidding it to look at the others."""

import pytest
import torch
from vit_reference import plain_tokens, random_state, sam_tokens

from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.encoder import build_encoder

SIZES = {"dim": 16, "depth": 2, "heads": 2, "patch": 4, "native_grid": 6}
SAM = Model(window=5, global_blocks=(1,), neck_dim=4, **SIZES)
PLAIN = Model(kind="plain", readout="class", **SIZES)
CASES = {
    "sam": (SAM, 4, 4),
    "sam, one whole window": (SAM, 5, 5),
    "sam, not square": (SAM, 3, 5),
    "sam, padding acts as keys": (SAM.model_copy(update={"compat": "sam"}), 3, 4),
    "plain": (PLAIN, 4, 4),
    "plain, native grid": (PLAIN, 6, 6),
}


def reference(state, settings, image, keep, grid):
    """Visible patches (n, dim) and class token (or None) of one image."""
    hidden = torch.ones(grid[0] * grid[1], dtype=torch.bool)
    hidden[keep] = False
    if settings.kind == "plain":
        class_token, patches = plain_tokens(state, settings, image, hidden.view(grid))
    else:
        class_token, patches = None, sam_tokens(state, settings, image, hidden.view(grid))
    return patches.flatten(0, 1)[keep], class_token


@pytest.mark.numerics
@pytest.mark.parametrize("case", CASES)
def test_visible_patches_equal_attention_that_is_forbidden_the_others(case):
    settings, height, width = CASES[case]
    encoder = build_encoder(settings)
    state = random_state(encoder)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 4 * height, 4 * width, generator=generator, dtype=torch.float64)
    images.requires_grad_()
    count = height * width // 2
    keep = torch.stack([torch.randperm(height * width, generator=generator)[:count] for _ in images])
    weights = torch.randn(2, count, 16, generator=generator, dtype=torch.float64)

    tokens = encoder.visible(images, keep)
    expected = [reference(state, settings, *pair, (height, width)) for pair in zip(images, keep, strict=True)]
    patches = torch.stack([pair[0] for pair in expected])
    torch.testing.assert_close(tokens.patches, patches, atol=1e-12, rtol=0)
    assert (tokens.class_token is None) == (settings.kind == "sam")
    if settings.kind == "plain":
        class_tokens = torch.stack([pair[1] for pair in expected])
        torch.testing.assert_close(tokens.class_token, class_tokens, atol=1e-12, rtol=0)

    leaves = [images, *(parameter for name, parameter in state.items() if not name.startswith("neck."))]
    for one, two in zip(
        torch.autograd.grad((tokens.patches * weights).sum(), leaves),
        torch.autograd.grad((patches * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("settings", [SAM, SAM.model_copy(update={"compat": "sam"}), PLAIN])
def test_all_patches_visible_equal_the_whole_forward(settings):
    encoder = build_encoder(settings)
    random_state(encoder)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        visible = encoder.visible(images, torch.arange(16).expand(2, -1)).patches
        torch.testing.assert_close(visible, encoder(images).grid.flatten(1, 2), atol=1e-12, rtol=0)


def test_a_grid_larger_than_a_window_is_refused():
    encoder = build_encoder(SAM)
    random_state(encoder)
    with pytest.raises(UserError, match=r"4 x 6 patches does not fit into a window of 5"):
        encoder.visible(torch.zeros(1, 3, 16, 24, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.int64))
