"""What the matrix units of a device reach, as the measure of all else: shares of it are MFU."""

from __future__ import annotations

import statistics
import time

import torch

ROUNDS, PRODUCTS = 10, 10


def measured_peak(device: torch.device) -> float:
    """Operations per second of a large product of matrices in bfloat16; the median of some rounds."""
    side = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(ROUNDS):
        wait(device)
        start = time.perf_counter()
        for _ in range(PRODUCTS):
            a @ b
        wait(device)
        seconds.append((time.perf_counter() - start) / PRODUCTS)
    return 2 * side**3 / statistics.median(seconds)


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
