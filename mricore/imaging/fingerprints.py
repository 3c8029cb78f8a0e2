"""What a slice looks like in 32 bytes, for near-duplicates, and what it holds in 16, for exact repeats.

A fingerprint says where the slice gets clearly brighter from one block to the next: from left to right in 8
rows of 17 blocks, from top to bottom in 8 columns of 17. It survives another scale or bit depth, lossy
compression and noise; it tells neighbouring slices of a volume apart. Sums of integers make it the same on
every machine.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.records import Pixels

BITS = 256
BLOCKS = (8, 17)
"""Differences of 17 blocks in 8 rows, and of 17 blocks in 8 columns: 128 bits each."""
MIN_STEP = 0.02
"""What the means of neighbouring blocks must differ by, as a fraction of the slice's range; noise in flat
background does not get there."""
MIN_BITS = 24
"""With fewer bits set, unlike slices are alike by chance; real slices that show anything have 31 or more."""
DIGEST_BYTES = 16
_ORDER = np.arange(BITS) * 159 % BITS
"""Spreads neighbouring bits by the golden ratio, so that any run of bits comes from all over the slice."""


def fingerprint(pixels: Pixels, low: float, high: float) -> bytes:
    """The 32 bytes of a slice; zeros if there is no contrast.

    ``low`` and ``high`` are the stored integers of black and white (``Histogram.percentiles``). What is
    beyond counts as black or white, so single bright pixels and the window of an export change little.
    """
    if not high > low:
        return bytes(BITS // 8)
    black, white = round(low), round(high)
    clipped = np.clip(pixels, black, white)
    few, many = BLOCKS
    step = MIN_STEP * (high - low)
    across = np.diff(_means(clipped, few, many), axis=1) > step
    down = np.diff(_means(clipped, many, few), axis=0) > step
    bits = np.concatenate([across.ravel(), down.ravel()])
    return np.packbits(bits[_ORDER]).tobytes()


def is_telling(fingerprint: bytes) -> bool:
    """Whether a fingerprint has enough structure to be compared."""
    return int.from_bytes(fingerprint).bit_count() >= MIN_BITS


def distance(one: bytes, other: bytes) -> int:
    """The number of bits in which two fingerprints differ."""
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def content_digest(pixels: Pixels) -> bytes:
    """16 bytes that are the same for the same stored integers, type and shape, and for nothing else."""
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    state = hashlib.sha256(f"{pixels.dtype.kind}{pixels.shape}".encode())
    state.update(little.data)
    return state.digest()[:DIGEST_BYTES]


def _means(pixels: NDArray[np.integer[Any]], rows: int, columns: int) -> NDArray[np.float64]:
    """Means over a grid of blocks that differ by no more than a pixel in size."""
    sums = pixels
    sizes = []
    for axis, blocks in ((1, columns), (0, rows)):
        length = pixels.shape[axis]
        starts = np.arange(blocks) * length // blocks
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.int64)
        # With fewer pixels than blocks some blocks share a pixel.
        sizes.append(np.maximum(np.diff(starts, append=length), 1))
    return sums / np.outer(sizes[1], sizes[0])
