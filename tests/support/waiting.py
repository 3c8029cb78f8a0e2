"""Where the host must not wait for the GPU."""

import warnings
from contextlib import contextmanager

import torch


@contextmanager
def nothing_waits():
    """What waits for the GPU in here is an error."""
    torch.cuda.synchronize()
    with warnings.catch_warnings():  # torch says once per process that this mode is a prototype
        warnings.simplefilter("ignore", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
