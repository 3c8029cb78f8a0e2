"""How workers share the training of one network: whole copies of it (DDP), or shares of it (FSDP).

Shares (PyTorch's ``fully_shard``) are for encoders that do not fit, with gradients, moments and teacher, into
each worker's memory. They stay in float32, and autocast narrows where it does without shares, so that both
ways give the same numbers; a policy of mixed precision would halve what is gathered, and round norms,
positions and prototypes, which autocast does not.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext

from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from mricore.config.schema import Recipe
from mricore.model.plain_block import PlainBlock
from mricore.training.optimizer import build_optimizer
from mricore.training.state import Trained, TrainState


def wrapped(state: TrainState, recipe: Recipe, workers: int) -> nn.Module:
    """The student as the loop calls it; one worker has nothing to share.

    All workers call this together, with equal states at step 0 and before any checkpoint is loaded: with
    ``train.parallel=fsdp`` the networks are shared out in place and the optimiser begins anew.
    """
    if workers == 1:
        return state.student
    if recipe.train.parallel == "ddp":
        return _copies(state.student)
    _share_out(state, recipe, workers)
    return state.student


def exchanging(forward: nn.Module, last: bool) -> AbstractContextManager[None]:
    """The context of one part's forward and backward pass.

    Copies exchange gradients with the ``last`` part alone. Shares do with each, as no worker has the memory
    for all gradients.
    """
    if last or not isinstance(forward, DistributedDataParallel):
        return nullcontext()
    return forward.no_sync()


def _copies(student: Trained) -> DistributedDataParallel:
    """Copies that exchange gradients, on CPUs in the same order in every step.

    By default DDP packs gradients anew after its first step. Where more than two workers add, rounding
    depends on a gradient's place in the pack, so a run that goes on from a checkpoint would not repeat the
    bits of one that never stopped. DDP keeps its first order where it looks for unused parameters; there are
    none, and the look costs little. On GPUs bits are not promised, and the better order is worth more.
    """
    on_cpu = next(student.parameters()).device.type == "cpu"
    warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
    return DistributedDataParallel(student, broadcast_buffers=False, find_unused_parameters=on_cpu)


def _share_out(state: TrainState, recipe: Recipe, workers: int) -> None:
    # a warning not to change outputs in place, which are pieces of one tensor; losses never do
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(state.anchor[0].device.type, (workers,))
    _share_out_network(state.student, mesh, free_root=False)
    if state.teacher is not None:
        # no backward pass comes to free what is gathered for the root
        _share_out_network(state.teacher, mesh, free_root=True)
    state.optimizer = build_optimizer(state.student.named_parameters(), recipe.model.depth, recipe.optimizer)
    state.anchor = [parameter.detach().clone() for parameter in state.student.encoder.parameters()]


def _share_out_network(network: Trained, mesh: DeviceMesh, free_root: bool) -> None:
    """Each block is gathered by itself when it is needed, all else at once."""
    for block in network.encoder.blocks:
        fully_shard(block, mesh=mesh)
        if isinstance(block, PlainBlock):
            register_fsdp_forward_method(block, "chosen")
    fully_shard(network, mesh=mesh, reshard_after_forward=free_root)
