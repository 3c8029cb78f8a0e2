"""AdamW with DINOv2's parameter groups: layer-wise learning rates, no decay where it does harm."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn

from mricore.config.schema import Optimizer
from mricore.training.rates import Rates

NEVER_DECAYED = ("rel_pos", "pos_embed", "mask_token", "cls_token", "query")
"""Positions and tokens, besides every bias and norm (recognised by having one axis)."""
FIRST_LAYER = ("encoder.pos_embed", "encoder.cls_token", "mask_token")


def layer_scale(name: str, depth: int, settings: Optimizer) -> float:
    """Learning-rate factor of a parameter of a network (arXiv 2304.07193, layer-wise decay).

    The first layer (positions, patch embedding) gets decay ** (depth + 1), block i gets
    decay ** (depth - i), everything after the blocks 1.
    """
    if name.startswith("encoder.patch_embed."):
        return settings.layer_decay ** (depth + 1) * settings.patch_embed_lr_scale
    if name in FIRST_LAYER:
        return settings.layer_decay ** (depth + 1)
    block = re.match(r"encoder\.blocks\.(\d+)\.", name)
    return settings.layer_decay ** (depth - int(block.group(1))) if block else 1.0


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies."""
    return parameter.ndim > 1 and not any(part in name for part in NEVER_DECAYED)


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], depth: int, settings: Optimizer
) -> torch.optim.AdamW:
    """AdamW whose groups carry ``lr_scale``, ``decay_scale``, ``prototypes`` and ``trunk`` for ``set_rates``.

    Its fused form updates everything in one pass over memory, on CPU and GPU.
    """
    groups: dict[tuple[float, float, bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            key = (
                layer_scale(name, depth, settings),
                float(is_decayed(name, parameter)),
                "prototypes" in name,
                name.startswith("encoder."),
            )
            groups[key].append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr_scale": scale,
                "decay_scale": decay,
                "prototypes": prototypes,
                "trunk": trunk,
            }
            for (scale, decay, prototypes, trunk), parameters in groups.items()
        ],
        lr=settings.lr,
        betas=settings.betas,
        weight_decay=0.0,
        fused=True,
    )


def set_rates(optimizer: torch.optim.Optimizer, rates: Rates) -> None:
    """Put this step's learning rate and weight decay into every group."""
    for group in optimizer.param_groups:
        frozen = rates.freeze_prototypes and group["prototypes"]
        trunk = rates.trunk_scale if group["trunk"] else 1.0
        group["lr"] = 0.0 if frozen else rates.lr * group["lr_scale"] * trunk
        group["weight_decay"] = rates.weight_decay * group["decay_scale"]
