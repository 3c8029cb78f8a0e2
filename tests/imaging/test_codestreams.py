"""What compressed images announce; codecs must never see a header that does not fit."""

import struct

import numpy as np
import pytest
from dicom_files import dataset, image_of, to_bytes
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from mricore.imaging.codestreams import Announced, announced, has_end, without_padding
from mricore.imaging.pixels import UnreadablePixelsError


def compressed(syntax):
    image = dataset(np.random.default_rng(0).integers(0, 4096, (64, 80)).astype(np.uint16))
    image.compress(syntax, generate_instance_uid=False)
    return image, next(generate_frames(image.PixelData, number_of_frames=1)).rstrip(b"\0")


def jpeg(*segments, scan=b"\xff\xda\0\2"):
    """A JPEG header from (marker, content)."""
    parts = (bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + b"".join(parts) + scan


def frame(bits=12, rows=64, columns=80, components=1):
    return struct.pack(">BHHB", bits, rows, columns, components) + b"\1\x11\0"


def siz(right=80, bottom=64, left=0, top=0, tile=(80, 64), origin=(0, 0), components=1, bits=12):
    sizes = struct.pack(">8I", right, bottom, left, top, *tile, *origin)
    return b"\xff\x4f\xff\x51\0\x29\0\0" + sizes + struct.pack(">HB", components, bits - 1)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_real_encoders(syntax):
    _, codestream = compressed(syntax)
    rows, columns, components, bits = announced(codestream)
    assert (rows, columns, components) == (64, 80, 1) and bits in (12, 16)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC3, 0xF7])
def test_the_frame_of_a_jpeg_is_found_behind_tables(marker):
    expected = Announced(64, 80, 1, 12)
    assert announced(jpeg((0xE0, b"JFIF"), (0xC4, b"\0" * 17), (marker, frame()))) == expected


def test_offsets_count_in_jpeg2000():
    assert announced(siz(right=90, left=10, tile=(90, 64), bits=16)) == Announced(64, 80, 1, 16)
    boxed = b"\0\0\0\x0cjP  \r\n\x87\n" + siz()
    assert announced(boxed) == Announced(64, 80, 1, 12)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"GIF89a" * 10,
        jpeg((0xC3, frame()))[:10],
        jpeg((0xC4, b"\0" * 17)),  # no frame
        jpeg((0xC3, frame()), (0xC3, frame())),  # two frames
        jpeg((0xC3, frame()), (0xD8, b"")),  # a marker that does not belong there
        jpeg((0xC3, frame())).replace(b"\xff\xc3\0\x0b", b"\xff\xc3\0\x01"),
        siz()[:30],
        siz(right=0),
        siz(tile=(0, 64)),
        siz(tile=(1, 1)),
        siz(origin=(5, 0)),
    ],
)
def test_damaged_headers_are_errors(damaged):
    with pytest.raises((ValueError, IndexError)):
        announced(damaged)


@pytest.mark.parametrize("padding", [b"", b"\0", b"\xff", b" \0\0"])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_the_end_is_found_before_padding_and_missing_in_what_is_cut(syntax, padding):
    _, codestream = compressed(syntax)
    assert has_end(codestream + padding)
    assert not has_end(codestream[:-1] + padding)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("change", [{"Rows": 32}, {"Columns": 160}, {"Rows": 80, "Columns": 64}])
def test_an_image_that_announces_another_size_is_unreadable(syntax, change):
    image, _ = compressed(syntax)
    image.update(change)
    with pytest.raises(UnreadablePixelsError):
        image_of(to_bytes(image))


def test_a_zero_byte_before_the_end_marker_is_no_damage():
    """As some JPEG-LS encoders write it; the codec alone would refuse the file."""
    image, codestream = compressed(JPEGLSLossless)
    expected = image_of(to_bytes(image))
    padded = codestream[:-2] + b"\0\xff\xd9"
    assert without_padding(padded + b"\0") == codestream
    image.PixelData = encapsulate([padded])
    assert np.array_equal(image_of(to_bytes(image)), expected)
