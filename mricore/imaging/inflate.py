"""A deflated data set (PS3.5, A.5), inflated only as far as it is read."""

from __future__ import annotations

import zlib
from typing import BinaryIO

MAX_INFLATED = 1 << 30
_COMPRESSED_CHUNK = 1 << 16
_CHUNK = 1 << 20


class Inflated:
    """Reads like the inflated file.

    ``read`` raises ValueError beyond ``MAX_INFLATED`` bytes, since a small file may inflate to any size, and
    ``zlib.error`` for damaged data.
    """

    def __init__(self, compressed: BinaryIO) -> None:
        self._compressed = compressed
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._content = bytearray()
        self._position = 0

    def seek(self, offset: int, /) -> int:
        """Go to a position from the start."""
        self._position = offset
        return offset

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer only at the end."""
        end = self._position + size
        if end > MAX_INFLATED:
            raise ValueError("inflates to too much")
        while len(self._content) < end and self._inflate():
            pass
        found = bytes(memoryview(self._content)[self._position : end])
        self._position += len(found)
        return found

    def _inflate(self) -> bool:
        """Inflate a little more; False at the end."""
        compressed = self._inflater.unconsumed_tail or self._compressed.read(_COMPRESSED_CHUNK)
        piece = self._inflater.decompress(compressed, _CHUNK)
        self._content += piece
        return bool(compressed or piece) and not self._inflater.eof
