"""Stored integers of the images of a DICOM file, losslessly, at native bit depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from mricore.imaging.decoders import decode
from mricore.imaging.elements import UNDEFINED
from mricore.imaging.files import PIXEL_DATA, UNCOMPRESSED, DicomFile, PixelData, open_dicom
from mricore.imaging.fragments import compressed_frames
from mricore.imaging.pixel_format import PixelFormat, pixel_format, stored_integers
from mricore.imaging.quiet import quiet
from mricore.records import Pixels, Reason


class UnreadablePixelsError(Exception):
    """The pixels of a file cannot be had; carries the reason and nothing of the file."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason)


def read_pixels(
    stream: BinaryIO, frames: Sequence[int] = (0,), shape: tuple[int, int] | None = None
) -> Iterator[Pixels]:
    """Decode images of a file one after the other, as asked for: each (rows, columns), uint16 or int16.

    ``frames`` and ``shape`` are what headers tell (``FrameHeader.frame``, ``rows`` and ``columns``). If the
    matrix of the file is larger than ``shape``, the file is a mosaic and ``frames`` counts its tiles, row by
    row. What is not asked for is not decoded.

    Only the stored bits survive, so overlays hidden in high bits do not, and a value that does not fit into
    the stored bits is damage; 8-bit images are widened. MONOCHROME1 (low is bright) is turned around, see
    ``stored_integers``.

    Raises:
        UnreadablePixelsError: no decoder, damaged or truncated data, no greyscale images, or no such frame.
    """
    images = _images(stream, frames, shape)
    while True:
        try:
            pixels = next(images, None)
        except Exception:  # noqa: BLE001 - codecs raise almost anything on damaged bytes
            break
        if pixels is None:
            return
        yield pixels
    # Raised outside the handler: the decoder's message may quote the file and must not ride along.
    raise UnreadablePixelsError(Reason.UNREADABLE_PIXELS)


def _images(stream: BinaryIO, frames: Sequence[int], shape: tuple[int, int] | None) -> Iterator[Pixels]:
    file = open_dicom(stream)
    layout = pixel_format(file.header)
    if file.pixels is None or file.pixels.tag != PIXEL_DATA:
        raise ValueError("no pixels")
    if shape is None or shape == (layout.rows, layout.columns):
        yield from _frames(file, file.pixels, layout, frames)
    else:
        yield from _tiles(file, file.pixels, layout, frames, shape)


def _frames(
    file: DicomFile, pixels: PixelData, layout: PixelFormat, frames: Sequence[int]
) -> Iterator[Pixels]:
    if not all(0 <= frame < layout.frames for frame in frames):
        raise ValueError("no such frame")
    if file.syntax in UNCOMPRESSED:
        return _native(file, pixels, layout, frames)
    return _compressed(file, pixels, layout, frames)


def _tiles(
    file: DicomFile, pixels: PixelData, layout: PixelFormat, tiles: Sequence[int], shape: tuple[int, int]
) -> Iterator[Pixels]:
    """Tiles of a mosaic as images of their own."""
    down, across = layout.rows // shape[0], layout.columns // shape[1]
    exact = (down * shape[0], across * shape[1]) == (layout.rows, layout.columns)
    if layout.frames != 1 or not exact or not all(0 <= tile < down * across for tile in tiles):
        raise ValueError("no such tile")
    (mosaic,) = _frames(file, pixels, layout, (0,))
    grid = mosaic.reshape(down, shape[0], across, shape[1])
    return (grid[tile // across, :, tile % across].copy() for tile in tiles)


def _native(
    file: DicomFile, pixels: PixelData, layout: PixelFormat, frames: Sequence[int]
) -> Iterator[Pixels]:
    """Frames that are not compressed; the file must hold all that it announces."""
    size = layout.frame_bytes
    end = pixels.start + layout.frames * size
    if pixels.length == UNDEFINED or pixels.length < layout.frames * size:
        raise ValueError("fewer bytes than pixels")
    file.source.seek(end - 1)
    if not file.source.read(1):
        raise EOFError
    big = file.syntax == ExplicitVRBigEndian
    swapped = big and pixels.vr == b"OW" and layout.allocated == 8
    kind = f"{'>' if big else '<'}{'i' if layout.signed else 'u'}{layout.allocated // 8}"
    for frame in frames:
        first = frame * size
        content = _swapped(file, pixels, first, size) if swapped else _bytes(file, pixels, first, size)
        yield stored_integers(np.frombuffer(content, kind).reshape(layout.rows, layout.columns), layout)


def _bytes(file: DicomFile, pixels: PixelData, first: int, size: int) -> bytes:
    file.source.seek(pixels.start + first)
    return file.source.read(size)


def _swapped(file: DicomFile, pixels: PixelData, first: int, size: int) -> bytes:
    """Bytes that were written in pairs, as big-endian words."""
    odd = first % 2
    pairs = _bytes(file, pixels, first - odd, (odd + size + 1) // 2 * 2)
    return np.frombuffer(pairs, np.uint16).byteswap().tobytes()[odd : odd + size]


def _compressed(
    file: DicomFile, pixels: PixelData, layout: PixelFormat, frames: Sequence[int]
) -> Iterator[Pixels]:
    codestreams = compressed_frames(file.source, pixels.start, frames, layout.frames)
    if file.syntax != RLELossless:
        # codecs deliver the stored bits alone
        layout = replace(layout, high_bit=layout.stored - 1)
    for codestream in codestreams:
        with quiet():
            words = decode(codestream, file.syntax, layout)
        yield stored_integers(words, layout)
