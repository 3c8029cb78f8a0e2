"""Run-length decoding: what pydicom encodes, and no more output than an image has pixels."""

import struct

import numpy as np
import pytest
from compressed_files import codestream, compressed
from pydicom.uid import RLELossless

from mricore.imaging.rle import decode_rle

FLAT = np.full((64, 80), 700, np.uint16)
NOISE = np.random.default_rng(1).integers(0, 65536, (64, 80)).astype(np.uint16)
STRIPES = np.tile(np.repeat(np.arange(16, dtype=np.uint16) * 300, 5), (64, 1))


@pytest.mark.parametrize("pixels", [FLAT, NOISE, STRIPES, STRIPES.astype(np.uint8)])
def test_words_are_those_that_were_encoded(pixels):
    bits = 8 * pixels.dtype.itemsize
    encoded = codestream(compressed(pixels, RLELossless, bits))
    found = decode_rle(encoded, pixels.size, pixels.dtype.itemsize)
    assert np.array_equal(found.reshape(pixels.shape), pixels)


def encoded(*segments, count=None):
    offsets = [64 + sum(map(len, segments[:k])) for k in range(len(segments))]
    header = struct.pack("<16L", count or len(segments), *offsets, *[0] * (15 - len(offsets)))
    return header + b"".join(segments)


def test_runs_and_literals_by_hand():
    """PS3.5, G.3.1: n < 128 copies n + 1 bytes, n > 128 repeats one byte 257 - n times, 128 does nothing."""
    assert list(decode_rle(encoded(b"\2abc\xfdx\x80\0y"), 8, 1)) == list(b"abcxxxxy")
    assert list(decode_rle(encoded(b"\xff\1", b"\1\2\3"), 2, 2)) == [0x0102, 0x0103]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        encoded(b"\1ab")[:60],
        encoded(b"\1ab", count=2),
        encoded(b"\1a", b"\1ab"),  # a literal that is cut
        encoded(b"\1ab", b""),
        struct.pack("<16L", 2, 70, 64, *[0] * 13) + bytes(20),
        struct.pack("<16L", 2, 64, 4000, *[0] * 13) + bytes(20),
        struct.pack("<16L", 2, 0, 64, *[0] * 13) + bytes(20),
    ],
)
def test_damaged_segments_are_errors(damaged):
    with pytest.raises((IndexError, ValueError, struct.error)):
        decode_rle(damaged, 2, 2)


def test_no_more_is_decoded_than_there_are_pixels():
    found = decode_rle(encoded(b"\x81x" * 1_000_000), 100, 1)
    assert found.size == 100
