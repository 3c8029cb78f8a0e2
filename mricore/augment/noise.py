"""Random numbers as a pure function of (key, counter), the same on every device and for every batch.

A device's own generator would make the noise of a slice depend on the slices before it, the number of workers
and the device. Here each number is a hash of its key and its place (Salmon et al., SC 2011).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

HALF = 2**16


def normal_pairs(keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Two independent standard normal numbers for each key and place, by Box and Muller.

    Of a word's 32 bits half make the radius and half the angle, which is fine enough for noise: no number
    exceeds 4.9.

    Args:
        keys: Any 32 bits each, as int32 (N,).
        count: Places of each key.

    Returns:
        Both numbers, (N, count) each.
    """
    places = torch.arange(count, device=keys.device, dtype=torch.int32)
    words = _mix(_mix(places) ^ _mix(keys)[:, None])
    radius = _high_bits(words, 16).to(torch.float32).add_(0.5).div_(HALF).log_().mul_(-2).sqrt_()
    angle = (words & (HALF - 1)).to(torch.float32).mul_(2 * math.pi / HALF)
    return radius * angle.cos(), radius * angle.sin()


def _mix(words: Tensor) -> Tensor:
    """A bijection of 32-bit words in which each bit of the input flips half of the output's.

    Two rounds of shift and multiplication (the finalizer of splitmix, with multipliers that C. Wellons'
    hash-prospector found to have the least bias). Products of int32 wrap around.
    """
    words = (words ^ _high_bits(words, 16)).mul_(0x21F0AAAD)
    words = (words ^ _high_bits(words, 15)).mul_(0x735A2D97)
    return words ^ _high_bits(words, 15)


def _high_bits(words: Tensor, shift: int) -> Tensor:
    """Shift to the right without the sign."""
    return (words >> shift).bitwise_and_((1 << (32 - shift)) - 1)
