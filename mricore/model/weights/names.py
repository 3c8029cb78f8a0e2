"""Renaming: every tensor of a file must get a name that a network of ours has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from mricore.model.weights.hints import likely_layout
from mricore.model.weights.strict import refusal

_LAYER = r"\.(weight|bias)"
_BLOCK = rf"((norm[12]|attn\.(qkv|proj)|mlp\.lin[12]){_LAYER}|attn\.rel_pos_[hw]|ls[12]\.gamma)"
_OURS = re.compile(
    rf"encoder\.(cls_token|pos_embed|patch_embed\.proj{_LAYER}|blocks\.\d+\.{_BLOCK}|neck\.[0-3]{_LAYER})"
    rf"|token\.norm{_LAYER}|mask_token|(patch_)?head\.(layers\.\d+{_LAYER}|prototypes(_length)?)"
)
"""Names in ``Network`` that a file from outside can hold, and LayerScale, which is folded afterwards."""


def renamed(content: Mapping[str, Tensor], rule: Callable[[str], str]) -> dict[str, Tensor]:
    """Tensors in float32 under the names that ``rule`` gives.

    Raises:
        UserError: a tensor gets a name that is none of ours, or that another has, or there is no encoder.
    """
    tensors: dict[str, Tensor] = {}
    problems = []
    for name, tensor in content.items():
        ours = rule(name)
        if not _OURS.fullmatch(ours):
            problems.append(f"{name} is unknown")
        elif ours in tensors:
            problems.append(f"{name} is a second {ours}")
        else:
            tensors[ours] = tensor
    problems += [f"{name} is missing" for name in ("encoder.patch_embed.proj.weight",) if name not in tensors]
    if problems:
        raise refusal("the file has another layout", problems, likely_layout(content))
    return in_float32(tensors)


def in_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in float32; half precision is widened exactly.

    Raises:
        UserError: a tensor holds anything but real numbers.
    """
    others = [f"{name} is {value.dtype}" for name, value in tensors.items() if not value.is_floating_point()]
    if others:
        raise refusal("the file holds no real numbers", others, "give a state dictionary of floats")
    return {name: tensor.float() for name, tensor in tensors.items()}
