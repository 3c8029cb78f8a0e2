"""What a JPEG, JPEG-LS or JPEG 2000 codestream says of itself, read before a codec sees it.

Codecs trust these headers: damaged ones cost them minutes, gigabytes, or the whole process.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_TILES = 4096
_END = b"\xff\xd9"  # of all three formats
_PADDING = b"\0\xff "
_JPEG_START = b"\xff\xd8"
_JPEG2000_START = b"\xff\x4f\xff\x51"
_FRAMES = {0xC0, 0xC1, 0xC3, 0xF7}  # baseline, extended, lossless, JPEG-LS
_TABLES = {0xC4, 0xDB, 0xDD, 0xF8, 0xFE, *range(0xE0, 0xF0)}  # may stand before the scan
_SCAN = 0xDA


class Announced(NamedTuple):
    """The image that a codestream announces."""

    rows: int
    columns: int
    components: int
    bits: int


def has_end(codestream: bytes) -> bool:
    """Whether the end marker is there, with or without padding behind it."""
    return codestream.rstrip(_PADDING).endswith(_END)


def without_padding(codestream: bytes) -> bytes:
    """The codestream without padding after its end marker and without zero bytes before it."""
    return codestream.rstrip(_PADDING).removesuffix(_END).rstrip(b"\0") + _END


def announced(codestream: bytes) -> Announced:
    """The image that a codestream announces.

    Raises:
        ValueError: the main header is damaged.
        IndexError: it is cut.
    """
    if codestream.startswith(_JPEG_START):
        return _announced_jpeg(codestream)
    return _announced_jpeg2000(codestream[jpeg2000_start(codestream) :])


def jpeg2000_start(codestream: bytes) -> int:
    """Where a JPEG 2000 codestream begins: at once, or behind the boxes of a file.

    Raises:
        ValueError: it is none.
    """
    return codestream.index(_JPEG2000_START, 0, 256)


def _announced_jpeg(codestream: bytes) -> Announced:
    """From the frame segment; every segment up to the scan must be one that belongs there."""
    position, found = 2, None
    while codestream[position + 1] != _SCAN:
        marker, length = codestream[position + 1], int.from_bytes(codestream[position + 2 : position + 4])
        if codestream[position] != 0xFF or length < 2 or marker not in _FRAMES | _TABLES:
            raise ValueError("damaged segment")
        if marker in _FRAMES:
            if found is not None:
                raise ValueError("two frames")
            content = codestream[position + 4 : position + 2 + length]
            rows, columns = int.from_bytes(content[1:3]), int.from_bytes(content[3:5])
            found = Announced(rows, columns, content[5], content[0])
        position += 2 + length
    if codestream[position] != 0xFF or found is None:
        raise ValueError("no frame before the scan")
    return found


def _announced_jpeg2000(codestream: bytes) -> Announced:
    """From the SIZ segment (ISO 15444-1, A.5.1): image, tile and component sizes."""
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = (
        int.from_bytes(codestream[at : at + 4]) for at in range(8, 40, 4)
    )
    if not (tile_left <= left < right and tile_top <= top < bottom):
        raise ValueError("tiles do not cover the image")
    if not (tile_width > 0 and tile_height > 0):
        raise ValueError("empty tiles")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise ValueError("too many tiles")
    components = int.from_bytes(codestream[40:42])
    return Announced(bottom - top, right - left, components, (codestream[42] & 0x7F) + 1)
