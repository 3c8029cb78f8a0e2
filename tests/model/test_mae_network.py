"""The masked autoencoder against a slow one, and what it may not see."""

import math

import numpy as np
import pytest
import torch
from vit_reference import attention, layer_norm, linear, mlp, plain_tokens, random_state, sam_tokens

from mricore.config.schema import Mae, Model
from mricore.model.input_norm import InputNorm
from mricore.model.mae_decoder import sine_positions
from mricore.model.mae_network import MaeNetwork, build_mae_network

SIZES = {"dim": 16, "depth": 2, "heads": 2, "patch": 4, "native_grid": 6}
MODELS = {
    "sam": Model(readout="mean", window=5, global_blocks=(1,), neck_dim=4, **SIZES),
    "plain": Model(kind="plain", readout="class", **SIZES),
    "plain, mean": Model(kind="plain", readout="mean", **SIZES),
}
MAE = Mae(decoder_dim=8, decoder_depth=2, decoder_heads=2)


def places(count, total, batch, seed=0):
    """Visible (b, count) and hidden (b, rest) patches, in any order."""
    generator = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(total, generator=generator) for _ in range(batch)])
    return orders[:, :count], orders[:, count:]


def decoded(state, patches, class_token, keep, grid):
    """All patches predicted in the order of the grid, (h * w, patch ** 2), as the paper describes it."""
    table = torch.from_numpy(slow_positions(*grid, 8))
    tokens = state["decoder.mask_token"].expand(grid[0] * grid[1], -1).clone()
    tokens[keep] = linear(patches, state, "decoder.embed")
    tokens = tokens + table
    if class_token is not None:
        tokens = torch.cat([linear(class_token, state, "decoder.embed")[None], tokens])
    all_seen = torch.zeros(len(tokens), dtype=torch.bool)
    for index in range(2):
        name = f"decoder.blocks.{index}"
        normed = layer_norm(tokens, state, f"{name}.norm1")
        no_bias = lambda q: 0.0  # noqa: E731
        tokens = tokens + attention(normed, state, f"{name}.attn", 2, no_bias, all_seen)
        tokens = tokens + mlp(layer_norm(tokens, state, f"{name}.norm2"), state, f"{name}.mlp")
    tokens = layer_norm(tokens, state, "decoder.norm")
    return linear(tokens, state, "decoder.predict")[-grid[0] * grid[1] :]


def slow_positions(height, width, dim):
    table = np.zeros((height * width, dim))
    for row in range(height):
        for column in range(width):
            for channel in range(dim // 4):
                rate = 10_000 ** (-channel / (dim // 4))
                table[row * width + column, channel :: dim // 4] = (
                    math.sin(row * rate),
                    math.cos(row * rate),
                    math.sin(column * rate),
                    math.cos(column * rate),
                )
    return table


@pytest.mark.numerics
@pytest.mark.parametrize("model", MODELS)
def test_predictions_and_gradients_equal_an_autoencoder_written_slowly(model):
    settings = MODELS[model]
    network = MaeNetwork(settings, MAE)
    state = random_state(network)
    generator = torch.Generator().manual_seed(1)
    crops = torch.rand(2, 1, 16, 16, generator=generator, dtype=torch.float64)
    keep, hidden = places(5, 16, 2)
    made = network(crops, keep, hidden)

    inner = {name.removeprefix("encoder."): tensor for name, tensor in state.items()}
    expected, tokens = [], []
    for image, shown, wanted in zip(InputNorm()(crops), keep, hidden, strict=True):
        unseen = torch.ones(16, dtype=torch.bool)
        unseen[shown] = False
        if settings.kind == "plain":
            class_token, grid = plain_tokens(inner, settings, image, unseen.view(4, 4))
            class_token = layer_norm(class_token, state, "token.norm")
        else:
            class_token, grid = None, sam_tokens(inner, settings, image, unseen.view(4, 4))
        patches = layer_norm(grid.flatten(0, 1)[shown], state, "token.norm")
        expected.append(decoded(state, patches, class_token, shown, (4, 4))[wanted])
        tokens.append(class_token if settings.readout == "class" else patches.mean(0))
    torch.testing.assert_close(made.patches, torch.stack(expected), atol=1e-12, rtol=0)
    torch.testing.assert_close(made.image_tokens, torch.stack(tokens), atol=1e-12, rtol=0)

    leaves = [parameter for name, parameter in state.items() if ".neck." not in name]
    for one, two in zip(
        torch.autograd.grad(made.patches.square().sum(), leaves),
        torch.autograd.grad(torch.stack(expected).square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-9)


@pytest.mark.numerics
def test_positions_of_the_decoder_are_sines_of_row_and_column():
    found = sine_positions(3, 5, 16, torch.device("cpu"))
    np.testing.assert_allclose(found[0].numpy(), slow_positions(3, 5, 16), atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_predictions_do_not_depend_on_hidden_pixels(model):
    network = build_mae_network(MODELS[model], MAE, torch.Generator().manual_seed(0))
    crops, (keep, hidden) = torch.rand(1, 1, 16, 16), places(5, 16, 1)
    for places_, same in ((hidden, True), (keep, False)):
        changed = crops.clone()
        for place in places_[0].tolist():
            row, column = place // 4 * 4, place % 4 * 4
            changed[..., row : row + 4, column : column + 4] = 0
        with torch.no_grad():
            one, two = (network(images, keep, hidden).patches for images in (crops, changed))
        assert torch.equal(one, two) == same


@pytest.mark.parametrize("model", MODELS)
def test_every_trainable_parameter_gets_a_gradient(model):
    network = build_mae_network(MODELS[model], MAE, torch.Generator().manual_seed(0))
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    made = network(torch.rand(3, 1, 20, 16), *places(5, 20, 3))
    assert made.patches.shape == (3, 15, 16)
    made.patches.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (".neck." not in name)
        assert parameter.grad is not None or ".neck." in name, name


def test_bfloat16_stays_close_to_float32():
    network = build_mae_network(MODELS["sam"], MAE, torch.Generator().manual_seed(0))
    given = (torch.rand(3, 1, 16, 16), *places(5, 16, 3))
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(*given).patches
    torch.testing.assert_close(rough.float(), network(*given).patches, atol=0.05, rtol=0)
