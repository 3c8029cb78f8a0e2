"""A DICOM file (PS3.10): how it is encoded, its attributes up to the pixels, and where the pixels lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from mricore.imaging.attributes import text
from mricore.imaging.elements import SHORTEST_HEAD, Elements, Reader, is_vr
from mricore.imaging.inflate import Inflated

UNCOMPRESSED = frozenset(
    {
        *(ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        *(ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
    }
)
"""Transfer syntaxes whose pixels are plain words."""
PIXEL_DATA = 0x7FE00010
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})
"""Float, double and integer pixel data."""
_BEFORE_PIXELS = range(min(_PIXELS))
_META = range(0x00020000, 0x00030000)
_PREAMBLE = 128
_MARK = b"DICM"
_FIRST_GROUPS = {b"\x02\x00", b"\x08\x00", b"\x00\x08"}
"""How a file without preamble begins: file meta information, or the data set in either byte order."""
_FIRST_READ = 1 << 18
"""Bytes; holds the header of nearly all classic images."""
_READ_GROWTH = 16
MAX_HEADER = 1 << 26
"""Bytes before the pixels; an Enhanced object of ten thousand frames has some tens of millions."""
MAX_INFLATED_HEADER = 1 << 24
"""The same for a deflated file, which may be much smaller than what it costs."""


class NotDicomError(Exception):
    """These bytes are no DICOM file."""


class Source(Protocol):
    """Bytes that can be read from anywhere."""

    def seek(self, offset: int, /) -> int:
        """Go to a position from the start."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer only at the end."""


class PixelData(NamedTuple):
    """Where the value of the pixel data lies; its length may be undefined."""

    tag: int
    vr: bytes
    start: int
    length: int


@dataclass(frozen=True, repr=False)
class DicomFile:
    """A file whose attributes are known up to its pixels; ``pixels`` lie in ``source``, if there are any."""

    source: Source
    syntax: str
    header: Elements
    meta: Elements
    pixels: PixelData | None


def open_dicom(stream: BinaryIO) -> DicomFile:
    """Read a file from its first byte up to its pixels; a header may have ``MAX_HEADER`` bytes.

    Raises:
        NotDicomError: these bytes are not DICOM.
        EOFError, struct.error, ValueError, zlib.error: they are damaged DICOM.
        OSError: the stream itself fails.
    """
    stream.seek(0)
    content = stream.read(_FIRST_READ)
    has_preamble = content[_PREAMBLE : _PREAMBLE + len(_MARK)] == _MARK
    if not has_preamble and content[:2] not in _FIRST_GROUPS:
        raise NotDicomError
    meta, start = _meta(content, _PREAMBLE + len(_MARK) if has_preamble else 0)
    syntax = _syntax(meta, content[start : start + 6])
    source: Source = stream
    limit = MAX_HEADER
    if syntax == DeflatedExplicitVRLittleEndian:
        stream.seek(start)
        source, content, start, limit = Inflated(stream), b"", 0, MAX_INFLATED_HEADER
    header, pixels = _header(source, content, start, syntax, limit)
    if not has_preamble and not text(header, "SOPClassUID"):
        raise NotDicomError
    return DicomFile(source, syntax, header, meta, pixels)


def _meta(content: bytes, start: int) -> tuple[Elements, int]:
    """The file meta information, always explicit and little endian, and where it ends."""
    reader = Reader(content, explicit=True, little=True)
    if content[start : start + 2] != b"\x02\x00":
        return Elements(reader, {}), start
    places, end = reader.scan(start, len(content), _META)
    return Elements(reader, places), end


def _syntax(meta: Elements, beginning: bytes) -> str:
    """The transfer syntax, guessed from the first bytes of the data set if the file does not say."""
    stated = text(meta, "TransferSyntaxUID")
    if stated:
        return stated
    if not is_vr(beginning[4:6]):
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if beginning[:1] == b"\0" else ExplicitVRLittleEndian


def _header(
    source: Source, content: bytes, start: int, syntax: str, limit: int
) -> tuple[Elements, PixelData | None]:
    """The attributes up to the pixels; more is read until they are all there."""
    little = syntax != ExplicitVRBigEndian
    while True:
        # what the bytes look like counts more than what the transfer syntax says
        reader = Reader(content, explicit=is_vr(content[start + 4 : start + 6]), little=little)
        try:
            places, end = reader.scan(start, len(content), _BEFORE_PIXELS)
            following = PixelData(*reader.head(end)) if len(content) - end >= SHORTEST_HEAD else None
            damage = None
        except (EOFError, struct.error) as error:
            places, following, damage = {}, None, error
        if following is not None:
            has_pixels = following.tag in _PIXELS and following.length > 0
            return Elements(reader, places), following if has_pixels else None
        more = _more(source, content, limit)
        if not more:
            if damage:
                raise damage
            return Elements(reader, places), None
        content += more


def _more(source: Source, content: bytes, limit: int) -> bytes:
    """What follows the content; empty at the end of the file."""
    size = max(_FIRST_READ, len(content) * (_READ_GROWTH - 1))
    source.seek(len(content))
    more = source.read(min(size, limit - len(content)))
    if not more and len(content) >= limit:
        raise ValueError("the header is too long")
    return more
