"""How a file stores its pixels, and how stored words become the integers of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.imaging.attributes import integer, number, text
from mricore.imaging.elements import Elements
from mricore.records import Pixels

ALLOCATED_BITS = (8, 16)
MAX_PIXELS = 1 << 24
"""Beyond any MR matrix; a damaged header must not make a worker allocate gigabytes."""
MAX_FRAMES = 100_000
_OVERLAYS = 0x60
"""Upper byte of the groups of overlays."""


@dataclass(frozen=True)
class PixelFormat:
    """The image pixel module (PS3.3, C.7.6.3) of a greyscale image of at most 16 bits.

    ``high_bit`` is that of the stored bits inside the allocated ones; ``inverted`` is MONOCHROME1, where low
    is bright. ``overlays`` means that unused high bits may hold graphics, as in old files.
    """

    frames: int
    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    inverted: bool
    overlays: bool

    @property
    def frame_bytes(self) -> int:
        """The size of an uncompressed frame."""
        return self.rows * self.columns * self.allocated // 8

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest integer that the stored bits can hold."""
        half = 1 << (self.stored - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


def pixel_format(header: Elements) -> PixelFormat:
    """The format that a header announces.

    Raises:
        ValueError: it is impossible, or not one of a greyscale image that can be read here.
    """
    rows, columns = integer(header, "Rows") or 0, integer(header, "Columns") or 0
    stored, allocated = integer(header, "BitsStored") or 0, integer(header, "BitsAllocated")
    frames = number_of_frames(header)
    high_bit = max(integer(header, "HighBit") or 0, stored - 1)
    sign = integer(header, "PixelRepresentation")
    possible = (
        0 < rows * columns <= MAX_PIXELS and min(rows, columns) > 0,
        0 < frames <= MAX_FRAMES,
        allocated in ALLOCATED_BITS and 0 < stored <= allocated,
        high_bit < (allocated or 0),
        sign in (0, 1),
        is_gray(header),
    )
    if not all(possible):
        raise ValueError("not a format of greyscale images")
    return PixelFormat(
        frames=frames,
        rows=rows,
        columns=columns,
        allocated=allocated or 0,
        stored=stored,
        high_bit=high_bit,
        signed=sign == 1,
        inverted=text(header, "PhotometricInterpretation") == "MONOCHROME1",
        overlays=any(tag >> 24 == _OVERLAYS for tag in header.tags),
    )


def number_of_frames(header: Elements) -> int:
    """NumberOfFrames, 1 if the header does not tell; for some writers 0 means that."""
    return integer(header, "NumberOfFrames") or 1


def is_gray(header: Elements) -> bool:
    """Whether a pixel has one sample that means brightness."""
    photometric = text(header, "PhotometricInterpretation")
    return integer(header, "SamplesPerPixel") in (None, 1) and photometric in ("MONOCHROME1", "MONOCHROME2")


def stored_integers(words: NDArray[Any], layout: PixelFormat) -> Pixels:
    """The integers of an image from its words of 8 or 16 bits, unused bits included; same shape.

    Signed or unsigned as the header says. A value that does not fit into the stored bits is damage, unless
    overlays explain it. Some headers place the stored bits higher than they are, which shows in the bits that
    are used; then the lowest ones are taken. MONOCHROME1 is turned around inside the stored range,
    v -> low + high - v, so that a larger integer is always brighter; slope and intercept then apply to the
    turned integers.

    Raises:
        ValueError: a value does not fit.
    """
    wide = words.astype(np.int16 if words.dtype.kind == "i" else np.uint16)
    shift = layout.high_bit + 1 - layout.stored
    if shift and not _lies_low(wide.view(np.uint16), shift, layout):
        wide >>= np.uint8(shift)
    pattern = wide.view(np.uint16)
    integers = _lowest(pattern, layout)
    if not layout.overlays and not _fits(pattern, layout):
        raise ValueError("values above the stored bits")
    if layout.inverted:
        integers = ~integers if layout.signed else np.uint16(layout.limits[1]) - integers
    return integers


def sign_extended(pattern: NDArray[np.uint16], bits: int) -> NDArray[np.int16]:
    """Signed integers from their lowest bits, of which the highest is the sign."""
    spare = np.uint8(16 - bits)
    return (pattern << spare).view(np.int16) >> spare


def _lowest(pattern: NDArray[np.uint16], layout: PixelFormat) -> Pixels:
    """The integers in the lowest bits, whatever stands above them."""
    if layout.signed:
        return sign_extended(pattern, layout.stored)
    return pattern & np.uint16((1 << layout.stored) - 1)


def _fits(pattern: NDArray[np.uint16], layout: PixelFormat) -> bool:
    """Whether high bits above the stored ones are zero, or repeat the sign."""
    bits = (1 << layout.stored) - 1
    if pattern.max() <= bits:
        return True
    return bool(((pattern <= bits) | (pattern == _lowest(pattern, layout).view(np.uint16))).all())


def _lies_low(pattern: NDArray[np.uint16], shift: int, layout: PixelFormat) -> bool:
    """Whether the stored bits are the lowest, whatever HighBit says: those are used, and none above them.

    An overlay too would be seen there.
    """
    below = np.uint16((1 << shift) - 1)
    return not layout.overlays and bool((pattern & below).any()) and _fits(pattern, layout)


def padding_range(header: Elements, layout: PixelFormat) -> tuple[int, int] | None:
    """The inclusive range of integers that mean no signal, as ``stored_integers`` gives them.

    None if the header has none, or one that the stored bits cannot hold.
    """
    ends = [number(header, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    found = [_as_stored(int(end), layout) for end in ends if end == end and end.is_integer()]
    low, high = layout.limits
    if not found or ends[0] != ends[0] or not all(low <= end <= high for end in found):
        return None
    turned = [low + high - end for end in found] if layout.inverted else found
    return min(turned), max(turned)


def _as_stored(value: int, layout: PixelFormat) -> int:
    """A value with the sign of the pixels: some writers state the sign that the pixels do not have."""
    word = 1 << layout.allocated
    if layout.signed and word // 2 <= value < word:
        return value - word
    return value + word if not layout.signed and -word // 2 <= value < 0 else value
