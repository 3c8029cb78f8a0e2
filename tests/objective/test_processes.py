"""Losses and gradients of one process with a global batch equal those of two that share it."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mricore.augment.masks import draw_masks
from mricore.config.schema import Augment, Head, Model, Objective
from mricore.model.network import build_network
from mricore.objective.communication import Alone, ProcessGroup
from mricore.objective.dinov2 import Centers, dinov2_losses

MODEL = Model(dim=16, depth=2, heads=2, patch=4, window=14, global_blocks=(1,), native_grid=4, neck_dim=4)
HEAD = Head(prototypes=12, hidden=16, bottleneck=8)
SLICES, LOCALS = 8, 2


def step(rows, counts, centering, communicator):
    """Loss shares and gradients of the slices ``rows`` of the global batch."""
    rng = np.random.default_rng(0)
    globals_ = torch.from_numpy(rng.random((2, SLICES, 1, 16, 16)))
    locals_ = torch.from_numpy(rng.random((LOCALS, SLICES, 1, 8, 8)))
    masks = torch.from_numpy(draw_masks(rng, SLICES, 4, Augment(mask_ratio=(0.2, 0.5))))
    network = build_network(MODEL, HEAD, torch.Generator().manual_seed(0)).double()
    teacher = build_network(MODEL, HEAD, torch.Generator().manual_seed(1)).double()
    own = masks[:, rows].flatten(0, 1)
    with torch.no_grad():
        target = teacher(globals_[:, rows].flatten(0, 1), own, None, False)
    student = network(globals_[:, rows].flatten(0, 1), own, locals_[:, rows].flatten(0, 1), True)
    centers = Centers(torch.zeros(12), torch.zeros(12))
    losses, following = dinov2_losses(
        student, target, own, centers, Objective(centering=centering), 0.06, counts, communicator
    )
    losses.total.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    values = torch.stack([getattr(losses, name).detach().double() for name in losses.__dataclass_fields__])
    return values, torch.cat([gradient.flatten() for gradient in gradients]), following


def worker(rank, store, counts, centering, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    start = sum(counts[:rank])
    losses, gradients, following = step(slice(start, start + counts[rank]), counts, centering, ProcessGroup())
    for tensor in (losses, gradients):
        dist.all_reduce(tensor)
    if rank == 0:
        torch.save((losses, gradients, following.image, following.patch), results)
    dist.destroy_process_group()


@pytest.mark.numerics
@pytest.mark.parametrize("counts", [(4, 4), (3, 5)])
@pytest.mark.parametrize("centering", ["center", "sinkhorn"])
def test_two_processes_equal_one(tmp_path, counts, centering):
    losses, gradients, following = step(slice(0, SLICES), (SLICES,), centering, Alone())
    results = tmp_path / "results.pt"
    mp.spawn(worker, (str(tmp_path / "store"), counts, centering, str(results)), nprocs=2)
    together = torch.load(results, weights_only=True)
    torch.testing.assert_close(together[0], losses, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(together[1], gradients, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together[2], following.image, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(together[3], following.patch, rtol=1e-6, atol=1e-6)
    assert gradients.abs().max() > 1e-3
