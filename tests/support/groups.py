"""A function of a test in each process of a gloo group."""

import gc
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_group(work, workers, folder, *arguments):
    """Call ``work(rank, *arguments)`` in so many processes, which meet in a file of ``folder``."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(_member, (work, workers, str(folder / "store"), arguments), nprocs=workers)


def _member(rank, work, workers, store, arguments):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=workers)
    work(rank, *arguments)
    # DDP that is the last to hold the group ends it with Python's lock held, for which a thread of the group
    # may wait: for ever
    gc.collect()
    dist.destroy_process_group()
