"""Parts of a network that torch.compile turns into fused kernels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from mricore.model.plain_block import PlainBlock

VARIANTS = 64
"""A block is compiled for each size of crop or batch, with and without gradient, windows and adapters."""


def compile_parts(parts: Iterable[nn.Module]) -> None:
    """Compile parts in place; names of weights stay as they are.

    This changes a limit of torch for the whole process: beyond it parts would silently run uncompiled, so
    that is made an error.
    """
    torch._dynamo.config.recompile_limit = VARIANTS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for part in parts:
        part.compile()
        if isinstance(part, PlainBlock):
            part.chosen = torch.compile(part.chosen)  # type: ignore[method-assign]
