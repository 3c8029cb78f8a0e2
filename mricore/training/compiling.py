"""Networks whose blocks and heads torch.compile turns into fused kernels."""

from __future__ import annotations

from torch import nn

from mricore.model.compiling import compile_parts
from mricore.model.mae_network import MaeNetwork
from mricore.model.network import Network
from mricore.training.state import TrainState


def compile_networks(state: TrainState) -> None:
    """Compile student and teacher in place, block by block; names of weights stay as they are.

    Called once by each worker: see ``compile_parts``.
    """
    for network in (state.student, state.teacher):
        if network is not None:
            compile_parts(_parts(network))


def _parts(network: Network | MaeNetwork) -> list[nn.Module]:
    parts: list[nn.Module] = [*network.encoder.blocks, network.token]
    if isinstance(network, Network):
        parts += [network.head, *([] if network.patch_head is None else [network.patch_head])]
    return parts
