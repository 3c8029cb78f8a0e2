"""Lossless compression of 16-bit slices by pco (https://github.com/pcodec/pcodec).

It codes the differences between neighbours in a row, which are small in MR, in fewer bits the more frequent
they are. Decoding is one call of native code, during which Python's lock is free, so threads decode at once.
"""

from __future__ import annotations

import numpy as np
from pcodec import ChunkConfig, DeltaSpec
from pcodec.standalone import simple_compress, simple_decompress_into

from mricore.records import Pixels

_CONFIG = ChunkConfig(compression_level=8, delta_spec=DeltaSpec.try_consecutive(1))
"""Named, so that the library's own choice, which may change, does not decide on the bytes of a dataset."""


def encode(pixels: Pixels) -> bytes:
    """Compress a slice of shape (rows, columns), dtype uint16 or int16."""
    return bytes(simple_compress(pixels.ravel().view(np.uint16), _CONFIG))


def decode(content: bytes, rows: int, columns: int, dtype: str) -> Pixels:
    """Undo ``encode``: an array of shape (rows, columns) and the given dtype ("uint16" or "int16").

    Raises:
        ValueError: the content is damaged, or is of another size.
    """
    words = np.empty(rows * columns, np.uint16)
    try:
        progress = simple_decompress_into(content, words)
    except RuntimeError as error:
        raise ValueError(f"{error}") from None
    if progress.n_processed != words.size or not progress.finished:
        raise ValueError(f"{progress.n_processed} numbers for a slice of {rows} x {columns}")
    return words.view(np.dtype(dtype)).reshape(rows, columns)
