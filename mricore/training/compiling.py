"""Networks whose blocks and heads torch.compile turns into fused kernels."""

from __future__ import annotations

import torch
from torch import nn

from mricore.model.mae_network import MaeNetwork
from mricore.model.network import Network
from mricore.model.plain_block import PlainBlock
from mricore.training.state import TrainState

VARIANTS = 64
"""A block is compiled for each size of crop, for teacher and student, with and without windows."""


def compile_networks(state: TrainState) -> None:
    """Compile student and teacher in place, block by block; names of weights stay as they are.

    Called once by each worker, as it changes a limit of torch for the whole process: beyond it blocks would
    silently run uncompiled, so that is made an error.
    """
    torch._dynamo.config.recompile_limit = VARIANTS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for network in (state.student, state.teacher):
        if network is not None:
            _compile(network)


def _compile(network: Network | MaeNetwork) -> None:
    parts: list[nn.Module] = [*network.encoder.blocks, network.token]
    if isinstance(network, Network):
        parts += [network.head, *([] if network.patch_head is None else [network.patch_head])]
    for part in parts:
        part.compile()
        if isinstance(part, PlainBlock):
            part.chosen = torch.compile(part.chosen)  # type: ignore[method-assign]
