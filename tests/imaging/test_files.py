"""Opening files: encodings, files without preamble, cut headers, and files that would fill the memory."""

import io
import struct
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from dicom_files import dataset, frames_of, image_of, mr_bytes, ramp, stream, to_bytes
from enhanced_files import enhanced
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from mricore.imaging.files import MAX_HEADER, MAX_INFLATED_HEADER, open_dicom
from mricore.imaging.headers import read_file
from mricore.imaging.inflate import MAX_INFLATED, Inflated
from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
from mricore.records import Reason

PLAIN = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
ROWS = 0x00280010


def after_meta(content):
    """Where the data set of a file begins."""
    return 144 + int.from_bytes(content[140:144], "little")


@pytest.mark.parametrize("syntax", [*PLAIN, DeflatedExplicitVRLittleEndian])
def test_whether_pixels_follow_is_known_in_every_encoding(syntax):
    assert open_dicom(stream(dataset(syntax=syntax))).pixels.length == 64 * 64 * 2
    assert open_dicom(stream(dataset(syntax=syntax, PixelData=None))).pixels is None


@pytest.mark.parametrize("syntax", PLAIN)
def test_a_bare_dataset_without_preamble_and_meta_is_read(syntax):
    content = to_bytes(dataset(syntax=syntax))
    file = open_dicom(io.BytesIO(content[after_meta(content) :]))
    assert file.syntax == syntax and file.pixels.length == 64 * 64 * 2
    assert (image_of(content[after_meta(content) :]) == ramp()).all()


@pytest.mark.parametrize("stated", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_the_bytes_count_more_than_the_transfer_syntax(stated):
    content = to_bytes(dataset(syntax={*PLAIN[:2]}.difference({stated}).pop()))
    meta = to_bytes(dataset(syntax=stated))
    mixed = meta[: after_meta(meta)] + content[after_meta(content) :]
    assert (image_of(mixed) == ramp()).all()


def test_a_cut_header_is_an_error_and_a_whole_one_without_pixels_is_none():
    content = mr_bytes(PixelData=None)
    open_dicom(io.BytesIO(content))
    with pytest.raises(EOFError):
        open_dicom(io.BytesIO(content[:-1]))


def test_a_header_longer_than_the_first_read_is_read():
    image = dataset()
    image.private_block(0x0009, "NOBODY", create=True).add_new(0x01, "OB", bytes(3_000_000))
    assert (image_of(to_bytes(image)) == ramp()).all()


def padded(size, syntax=ExplicitVRLittleEndian):
    """A file whose header has more bytes than ``size``, in parts that are plausible one by one."""
    image = dataset(syntax=syntax)
    block = image.private_block(0x0009, "NOBODY", create=True)
    for number in range(-(-size // (1 << 22))):
        block.add_new(number, "OB", bytes(1 << 22))
    return to_bytes(image)


def test_a_header_of_unlikely_length_is_refused():
    assert frames_of(padded(MAX_HEADER)) is Reason.UNREADABLE_HEADER
    assert frames_of(padded(MAX_INFLATED_HEADER)) is not Reason.UNREADABLE_HEADER


def test_a_deflated_header_of_unlikely_length_is_refused_earlier():
    assert frames_of(padded(MAX_INFLATED_HEADER, DeflatedExplicitVRLittleEndian)) is Reason.UNREADABLE_HEADER


def deflated(content, zeros):
    """The data set deflated, with so many MiB of zeros behind it."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = compressor.compress(content)
    return packed + b"".join(compressor.compress(bytes(1 << 20)) for _ in range(zeros)) + compressor.flush()


def bomb(zeros, **attributes):
    """A deflated image that inflates to so many MiB."""
    plain = to_bytes(dataset(**attributes))
    meta = to_bytes(dataset(syntax=DeflatedExplicitVRLittleEndian))
    return meta[: after_meta(meta)] + deflated(plain[after_meta(plain) :], zeros)


def peak_of(action):
    """The most memory (bytes) that Python objects took meanwhile."""
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_what_follows_the_pixels_is_not_inflated():
    content = bomb(zeros=256)
    assert len(content) < 300_000
    assert len(frames_of(content)) == 1
    assert (image_of(content) == ramp()).all()
    assert peak_of(lambda: frames_of(content)) < 8_000_000
    assert peak_of(lambda: image_of(content)) < 8_000_000


@pytest.mark.parametrize("beginning", [b"", struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 0x70000000)])
def test_zeros_instead_of_a_header_are_not_inflated_to_the_end(beginning):
    meta = to_bytes(dataset(syntax=DeflatedExplicitVRLittleEndian))
    content = meta[: after_meta(meta)] + deflated(beginning, 256)
    assert frames_of(content) is Reason.UNREADABLE_HEADER
    assert peak_of(lambda: frames_of(content)) < 4 * MAX_INFLATED_HEADER


def test_more_than_the_cap_is_never_inflated():
    source = Inflated(io.BytesIO(deflated(b"abc", 1)))
    assert source.read(3) == b"abc"
    source.seek(MAX_INFLATED - 1)
    with pytest.raises(ValueError, match="too much"):
        source.read(2)


def test_reading_at_the_end_of_inflated_bytes_gives_fewer():
    source = Inflated(io.BytesIO(deflated(b"abcdef", 0)))
    source.seek(4)
    assert source.read(10) == b"ef" and source.read(1) == b""
    source.seek(1)
    assert source.read(2) == b"bc"


class Spy(io.BytesIO):
    """Remembers the most bytes that it was asked for at once: a raw file allocates them before it reads."""

    most = 0

    def read(self, size=-1):
        assert size >= 0
        self.most = max(self.most, size)
        return super().read(size)


@pytest.mark.parametrize("tag", [0x00081140, 0x00100020, 0x00280010, 0x00291010, 0x7FE00010, 0xFFFEE000])
@pytest.mark.parametrize("length", [0xFFFFFFF0, 0x7FFFFFFF, 0x10000000])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_huge_length_allocates_nothing(tag, length, syntax):
    image = dataset()
    if syntax == RLELossless:
        image.compress(syntax, generate_instance_uid=False)
    content = to_bytes(image)
    pixels = open_dicom(io.BytesIO(content)).pixels.start
    if tag == 0xFFFEE000:
        spoiled = (
            content[:pixels] + struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length) + content[pixels + 8 :]
        )
    else:
        lie = struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"OB", 0, length)
        spoiled = content[: pixels - 12] + lie + content[pixels - 12 :]
    spy = Spy(spoiled)
    read_file(spy, "")
    with suppress(UnreadablePixelsError):
        list(read_pixels(spy))
    assert 0 < spy.most <= 1 << 22


def test_sequences_thousands_deep_do_not_end_the_process():
    nested = struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    ends = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    content = to_bytes(dataset())
    start = after_meta(content)
    for deep in (nested * 50_000 + ends * 50_000, nested * 50_000):
        spoiled = content[:start] + deep + content[start:]
        assert isinstance(frames_of(spoiled), list) == deep.endswith(ends)


def test_frames_of_a_deflated_object_are_read():
    image = enhanced(syntax=DeflatedExplicitVRLittleEndian)
    assert len(frames_of(to_bytes(image))) == 4


def test_a_stream_that_fails_is_no_damaged_file():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        open_dicom(Broken(to_bytes(dataset())))
