"""DICOM's run-length encoding (PS3.5, annex G)."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_HEADER = struct.Struct("<16L")


def decode_rle(codestream: bytes, pixels: int, sample_bytes: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The words of an image of one sample per pixel, shape (pixels,).

    Raises:
        ValueError, struct.error: the data are damaged, or are those of another image.
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
    """The first ``size`` bytes of a segment, which Pillow knows from TIFF; what follows them is padding."""
    return Image.frombytes("L", (size, 1), content, "packbits", "L").tobytes()
