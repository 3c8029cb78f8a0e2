"""Steps on slices in memory, by one process or by a worker of a group, with nothing but the step itself."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from groups import in_group

from mricore.data.batch import FULL, Batch, Slices
from mricore.objective.communication import Alone, ProcessGroup
from mricore.training.checkpoint import CheckpointInfo, load_checkpoint, snapshot, write_checkpoint
from mricore.training.initial import initial_state
from mricore.training.methods import method_of
from mricore.training.parallel import wrapped
from mricore.training.rates import rates_at
from mricore.training.step import train_step

DOUBLE = ("augment.bias_probability=0", "augment.blur_probability=[0,0,0]", "augment.noise_probability=0")
"""Crops that can be cut in float64."""
CPU = torch.device("cpu")
TOTAL = 10


@contextmanager
def in_float64():
    """Losses are lifted to float32 by the package; here to float64, so that rounding hides no error."""
    threads, lifted = torch.get_num_threads(), torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield
    torch.Tensor.float = lifted
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


def batch_of_step(step, counts, rank):
    """A worker's part of a global batch of random slices, the same slices whatever the counts."""
    rng = np.random.default_rng((7, step))
    images = [rng.integers(0, 65536, (36 + 2 * index, 40)).astype(np.uint16) for index in range(sum(counts))]
    own = np.arange(sum(counts[:rank]), sum(counts[: rank + 1]))
    slices = Slices([images[i] for i in own], [FULL] * len(own), [str(i) for i in own])
    return Batch(0, step, slices, own, sum(counts), counts)


def trained(recipe, counts, steps, load=None, save=None):
    """Rows of metrics summed over workers, and the whole state after it (of the first worker, else None)."""
    workers = len(counts)
    communicator = ProcessGroup() if workers > 1 else Alone()
    rank = communicator.rank
    state = initial_state(recipe, CPU)
    forward, method = wrapped(state, recipe, workers), method_of(recipe)
    if load is not None:
        load_checkpoint(Path(load), state)
    rows = []
    for step in steps:
        rates = rates_at(step, TOTAL, recipe)
        views = method.views(batch_of_step(step, counts, rank), rates, CPU)
        shares = train_step(state, method, forward, views, counts, rates, recipe, communicator, measured=True)
        rows.append({name: float(communicator.sum(share)) for name, share in shares.items()})
    taken = snapshot(state, rank)
    if save is not None and rank == 0:
        Path(save).mkdir()
        write_checkpoint(Path(save), taken, CheckpointInfo(state.step, TOTAL, "digest", recipe))
    return rows, taken and taken.tensors


def _worker(rank, function, arguments, results):
    found = function(*arguments)
    if rank == 0:
        torch.save(found, results)
    dist.barrier()


def in_processes(workers, folder, function, *arguments):
    """What ``function`` returns in the first of several processes of a gloo group."""
    folder.mkdir()
    results = folder / "results.pt"
    in_group(_worker, workers, folder, function, arguments, str(results))
    return torch.load(results, weights_only=True)
