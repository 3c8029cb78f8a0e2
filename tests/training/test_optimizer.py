import pytest
import torch
from small import small_recipe
from torch import nn

from mricore.config.schema import Optimizer
from mricore.training.initial import initial_network
from mricore.training.optimizer import build_optimizer, is_decayed, layer_scale, set_rates
from mricore.training.rates import Rates


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.patch_embed.proj.weight", 0.050837),
        ("encoder.pos_embed", 0.254187),
        ("encoder.cls_token", 0.254187),
        ("mask_token", 0.254187),
        ("encoder.blocks.0.attn.qkv.weight", 0.282430),
        ("encoder.blocks.11.mlp.lin1.bias", 0.9),
        ("head.prototypes", 1.0),
    ],
)
def test_layer_scales_of_vit_b(name, expected):
    assert layer_scale(name, 12, Optimizer()) == pytest.approx(expected, abs=1e-6)


def test_every_parameter_has_one_group_and_its_own_decay():
    recipe = small_recipe()
    network, _ = initial_network(recipe)
    optimizer = build_optimizer(network.named_parameters(), recipe.model.depth, recipe.optimizer)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters() if p.requires_grad)
    decayed = {name for name, parameter in network.named_parameters() if is_decayed(name, parameter)}
    assert "encoder.blocks.0.attn.qkv.weight" in decayed
    assert not [
        name
        for name in decayed
        if "bias" in name or "norm" in name or "rel_pos" in name or "pos_embed" in name
    ]
    assert any("prototypes" in name for name in decayed)


def rates(freeze_prototypes=False, trunk_scale=1.0):
    return Rates(1.0, 0.1, 0.99, 0.05, freeze_prototypes, trunk_scale, 32, 16)


def given(optimizer):
    return {id(group["params"][0]): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}


def test_rates_reach_their_groups():
    prototypes, weight, bias = (nn.Parameter(torch.zeros(shape)) for shape in ((2, 2), (2, 2), (2,)))
    named = [("head.prototypes", prototypes), ("encoder.blocks.0.w", weight), ("encoder.blocks.0.b", bias)]
    optimizer = build_optimizer(named, 2, Optimizer(layer_decay=0.5))
    set_rates(optimizer, rates(freeze_prototypes=True))
    assert given(optimizer) == {id(prototypes): (0.0, 0.1), id(weight): (0.25, 0.1), id(bias): (0.25, 0.0)}
    set_rates(optimizer, rates(trunk_scale=0.5))
    assert given(optimizer) == {id(prototypes): (1.0, 0.1), id(weight): (0.125, 0.1), id(bias): (0.125, 0.0)}


def test_the_moments_are_the_recipe_s():
    parameter = nn.Parameter(torch.zeros(2, 2))
    optimizer = build_optimizer([("head.prototypes", parameter)], 2, Optimizer(betas=(0.8, 0.95)))
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)
