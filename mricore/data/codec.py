"""Lossless compression of 16-bit slices: horizontal differences, byte planes, zstd.

MR neighbours are similar, so differences are small and their high bytes are mostly constant; splitting
the planes lets zstd see that. Decoding is a cumulative sum. Arithmetic is modulo 2**16, hence exact for
signed and unsigned pixels alike.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mricore.records import Pixels

_ZSTD = pa.Codec("zstd", compression_level=3)


def encode(pixels: Pixels) -> bytes:
    """Compress a slice of shape (rows, columns), dtype uint16 or int16."""
    words = np.ascontiguousarray(pixels).view(np.uint16)
    differences = words.copy()
    differences[:, 1:] -= words[:, :-1]
    planes = differences.astype("<u2").view(np.uint8).reshape(-1, 2).T
    return bytes(_ZSTD.compress(np.ascontiguousarray(planes), asbytes=True))


def decode(content: bytes, rows: int, columns: int, dtype: str) -> Pixels:
    """Undo ``encode``: an array of shape (rows, columns) and the given dtype ("uint16" or "int16")."""
    raw = _ZSTD.decompress(content, decompressed_size=rows * columns * 2, asbytes=True)
    planes = np.frombuffer(raw, np.uint8).reshape(2, rows * columns)
    differences = np.ascontiguousarray(planes.T).view("<u2").reshape(rows, columns)
    words = np.cumsum(differences, axis=1, dtype=np.uint16)
    return words.view(np.dtype(dtype))
