"""One process and two gloo processes train alike on the same global batches."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from records import small_dataset
from small import small_loop, small_recipe
from torch.nn.parallel import DistributedDataParallel

from mricore.data.storage import Place, place
from mricore.objective.communication import ProcessGroup
from mricore.training.state import initial_state

SETTINGS = ("train.epochs=1", "objective.koleo_weight=0.1")


def traced(loop):
    """{step: total loss and norm of the gradient}."""
    return {
        int(row["step"]): (row["loss/total"], row["gauge/gradient_norm"])
        for report in loop.run()
        for row in report.rows
    }


def worker(rank, dataset, store, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    recipe = small_recipe(*SETTINGS)
    state = initial_state(recipe, torch.device("cpu"))
    forward = DistributedDataParallel(state.student)
    trace = traced(small_loop(Place(dataset), recipe, ProcessGroup(), state, forward))
    if rank == 0:
        torch.save(trace, results)
    dist.destroy_process_group()


@pytest.mark.numerics
def test_two_processes_give_the_losses_of_one(tmp_path):
    dataset = tmp_path / "dataset"
    small_dataset(place(str(dataset)), 75)
    torch.set_num_threads(1)
    alone = traced(small_loop(place(str(dataset)), small_recipe(*SETTINGS)))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    arguments = (str(dataset), str(tmp_path / "store"), str(tmp_path / "trace.pt"))
    mp.spawn(worker, arguments, nprocs=2)
    together = torch.load(tmp_path / "trace.pt", weights_only=True)
    assert together.keys() == alone.keys()
    assert len(alone) == 5
    for step, (loss, norm) in alone.items():
        # rounding grows a little with every update
        assert together[step][0] == pytest.approx(loss, rel=2e-5), step
        # Adam would hide gradients that are too small by a factor
        assert together[step][1] == pytest.approx(norm, rel=1e-3), step
