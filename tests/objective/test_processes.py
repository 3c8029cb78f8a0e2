"""Losses and gradients of one process with a global batch equal those of two that share it."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from groups import in_group
from whole_step import targets_and_losses

from mricore.augment.masks import draw_kept_patches, draw_masks
from mricore.config.schema import Augment, Head, Mae, Model, Objective
from mricore.model.mae_network import build_mae_network
from mricore.model.masked import masked_patches
from mricore.model.network import build_network
from mricore.objective.communication import Alone, ProcessGroup
from mricore.objective.dinov2 import Centers
from mricore.objective.mae import mae_share

MODEL = Model(dim=16, depth=2, heads=2, patch=4, window=14, global_blocks=(1,), native_grid=4, neck_dim=4)
HEAD = Head(prototypes=12, hidden=16, bottleneck=8)
SLICES, LOCALS = 8, 2
METHODS = ("center", "sinkhorn", "none", "mae")


def dinov2_step(rows, counts, centering, communicator):
    """Loss shares, gradients and next centres, from the slices ``rows`` of the global batch."""
    rng = np.random.default_rng(0)
    globals_ = torch.from_numpy(rng.random((2, SLICES, 1, 16, 16)))
    locals_ = torch.from_numpy(rng.random((LOCALS, SLICES, 1, 8, 8)))
    masks = draw_masks(rng, SLICES, 4, Augment(mask_ratio=(0.2, 0.5)))
    network = build_network(MODEL, HEAD, torch.Generator().manual_seed(0)).double()
    teacher = build_network(MODEL, HEAD, torch.Generator().manual_seed(1)).double()
    own = masked_patches(masks[:, rows].reshape(-1, 4, 4), torch.device("cpu"))
    with torch.no_grad():
        target = teacher(globals_[:, rows].flatten(0, 1), own, None, False)
    student = network(globals_[:, rows].flatten(0, 1), own, locals_[:, rows].flatten(0, 1), True)
    centers = Centers(torch.zeros(12), torch.zeros(12))
    losses, following = targets_and_losses(
        student, target, own, centers, Objective(centering=centering), 0.06, counts, communicator
    )
    losses.total.backward()
    values = torch.stack([getattr(losses, name).detach().double() for name in losses.__dataclass_fields__])
    return values, gradients_of(network), torch.cat([following.image, following.patch])


def mae_step(rows, counts, _method, _communicator):
    """The same of MAE, which has no centres."""
    rng = np.random.default_rng(0)
    crops = torch.from_numpy(rng.random((SLICES, 1, 16, 16)))
    keep, hidden = map(torch.from_numpy, draw_kept_patches(rng, SLICES, 16, 0.75))
    model = MODEL.model_copy(update={"readout": "mean"})
    settings = Mae(decoder_dim=8, decoder_depth=1, decoder_heads=2)
    network = build_mae_network(model, settings, torch.Generator().manual_seed(0)).double()
    made = network(crops[rows], keep[rows], hidden[rows])
    loss = mae_share(made.patches, crops[rows], hidden[rows], MODEL.patch, True, sum(counts))
    loss.backward()
    return loss.detach()[None], gradients_of(network), torch.zeros(1)


def gradients_of(network):
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def step(rows, counts, method, communicator):
    return (mae_step if method == "mae" else dinov2_step)(rows, counts, method, communicator)


def worker(rank, counts, results):
    start = sum(counts[:rank])
    found = {}
    for method in METHODS:
        shares = step(slice(start, start + counts[rank]), counts, method, ProcessGroup())
        for tensor in shares[:2]:
            dist.all_reduce(tensor)
        found[method] = shares
    if rank == 0:
        torch.save(found, results)


@pytest.mark.numerics
@pytest.mark.parametrize("counts", [(4, 4), (3, 5)])
def test_two_processes_equal_one(tmp_path, counts):
    results = tmp_path / "results.pt"
    in_group(worker, 2, tmp_path, counts, str(results))
    together = torch.load(results, weights_only=True)
    for method in METHODS:
        alone = step(slice(0, SLICES), (SLICES,), method, Alone())
        for found, expected in zip(together[method], alone, strict=True):
            assert (found - expected).norm() <= 1e-6 * expected.norm(), method
        assert alone[1].abs().max() > 1e-3
