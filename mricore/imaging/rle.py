"""DICOM's run-length encoding (PS3.5, annex G)."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<16L")


def decode_rle(codestream: bytes, pixels: int, sample_bytes: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The words of an image of one sample per pixel, shape (pixels,).

    Raises:
        IndexError, ValueError, struct.error: the data are damaged, or are those of another image.
    """
    count, *offsets = _HEADER.unpack_from(codestream)
    bounds = [*offsets[:sample_bytes], len(codestream)]
    if count != sample_bytes or bounds != sorted(bounds) or bounds[0] < _HEADER.size:
        raise ValueError("damaged segments")
    planes = [
        np.frombuffer(_segment(codestream[first:after], pixels), np.uint8)
        for first, after in pairwise(bounds)
    ]
    if sample_bytes == 1:
        return planes[0]
    high, low = planes
    return high.astype(np.uint16) << np.uint16(8) | low


def _segment(content: bytes, size: int) -> bytes:
    """The first ``size`` bytes of a segment; what follows them is padding."""
    found = bytearray()
    position = 0
    while len(found) < size:
        run = content[position]
        if run < 128:
            found += content[position + 1 : position + 2 + run]
            position += 2 + run
        else:
            if run > 128:
                found += content[position + 1 : position + 2] * (257 - run)
            position += 2 if run > 128 else 1
    return bytes(found[:size])
