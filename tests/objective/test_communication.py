"""The time of exchanges is counted, and counting it changes no bit of what is exchanged."""

import time

import pytest
import torch
import torch.distributed as dist
from groups import in_group
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mricore.objective.communication import Alone, ProcessGroup

WORKERS = 3  # a third is not a binary fraction: the order of scaling and summing would show
LATE = 0.3
STEPS = 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 300), nn.GELU(), nn.Linear(300, 300), nn.GELU(), nn.Linear(300, 5))


def gradients(rank, timed):
    """Gradients of some steps, and the seconds that were counted in each; rank 0 waits for the others."""
    group = ProcessGroup()
    forward = DistributedDataParallel(network(), bucket_cap_mb=0.1)  # several buckets
    if timed:
        group.time_gradients(forward)
    generator = torch.Generator().manual_seed(rank)
    found, seconds = [], []
    for _ in range(STEPS):
        forward.zero_grad()
        loss = forward(torch.randn(8, 40, generator=generator)).square().sum()
        before = group.seconds
        time.sleep(LATE if rank else 0)
        loss.backward()
        seconds.append(group.seconds - before)
        found.append(torch.cat([parameter.grad.flatten().clone() for parameter in forward.parameters()]))
    return torch.stack(found), seconds


def exchanges(rank):
    """Seconds that each exchange waits for the late ones; the last is the way back of gathered rows."""
    group, seconds = ProcessGroup(), []
    rows = torch.ones(2, 3, requires_grad=True)

    def waited(work):
        before = group.seconds
        dist.barrier()
        time.sleep(LATE if rank else 0)
        result = work()
        seconds.append(group.seconds - before)
        return result

    waited(lambda: group.sum(rows))
    waited(lambda: group.maximum(rows))
    gathered = waited(lambda: group.gather_rows(rows, [2] * WORKERS))
    waited(lambda: gathered.sum().backward())
    assert torch.equal(rows.grad, torch.full((2, 3), float(WORKERS)))
    return seconds


def work(rank, folder):
    plain, uncounted = gradients(rank, timed=False)
    counted, seconds = gradients(rank, timed=True)
    if rank == 0:
        torch.save((plain, counted, uncounted, seconds, exchanges(rank)), f"{folder}/found")
    else:
        exchanges(rank)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    in_group(work, WORKERS, folder, str(folder))
    return torch.load(folder / "found")


@pytest.mark.numerics
def test_gradients_are_the_same_bits_whether_their_exchange_is_timed_or_not(found):
    plain, counted, *_ = found
    assert plain.abs().sum() > 0
    assert torch.equal(plain, counted)


def test_a_worker_counts_how_long_it_waits_for_the_gradients_of_others(found):
    _, _, uncounted, seconds, _ = found
    assert uncounted == [0.0] * STEPS
    assert all(0.8 * LATE < one < 10 * LATE for one in seconds), seconds


def test_every_exchange_counts_its_waiting_on_the_way_back_too(found):
    *_, seconds = found
    assert len(seconds) == 4
    assert all(0.8 * LATE < one < 10 * LATE for one in seconds), seconds


def test_one_process_alone_waits_for_nobody():
    alone = Alone()
    alone.sum(torch.ones(3))
    assert alone.seconds == 0.0
