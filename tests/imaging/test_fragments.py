"""Which fragments make up a frame: by their number, the offset table, or the ends of the codestreams."""

import numpy as np
import pytest
from compressed_files import codestream, compress_frames, compressed
from dicom_files import pixels_of, to_bytes
from enhanced_files import enhanced, stack
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from mricore.imaging.pixels import UnreadablePixelsError

FRAMES = stack()
END_OF_PIXELS = b"\xfe\xff\xdd\xe0\0\0\0\0"


def fragmented(syntax, fragments, table=True):
    """The content of an object whose frames are each cut into so many fragments."""
    image = compress_frames(enhanced(FRAMES), FRAMES, syntax)
    streams = [codestream(compressed(frame, syntax)) for frame in FRAMES]
    image.PixelData = encapsulate(streams, fragments_per_frame=fragments, has_bot=table)
    return to_bytes(image)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("fragments", [1, 2, 5])
def test_frames_in_fragments_are_found_by_the_offset_table(syntax, fragments):
    assert np.array_equal(pixels_of(fragmented(syntax, fragments), range(4)), FRAMES)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_without_an_offset_table_codestreams_tell_by_their_ends(syntax):
    assert np.array_equal(pixels_of(fragmented(syntax, 3, table=False), (3, 1)), FRAMES[[3, 1]])


def test_a_damaged_offset_table_is_not_believed():
    content = fragmented(JPEGLSLossless, 2)
    table = content.index(b"\xfe\xff\x00\xe0\x10\0\0\0") + 8
    spoiled = content[: table + 4] + b"\xff\xff\xff\x7f" + content[table + 8 :]
    assert np.array_equal(pixels_of(spoiled, range(4)), FRAMES)


def test_fragments_of_which_nothing_tells_the_frames_are_unreadable():
    with pytest.raises(UnreadablePixelsError):
        pixels_of(fragmented(RLELossless, 2, table=False), (0,))


@pytest.mark.parametrize("count", [3, 5])
def test_another_number_of_frames_than_announced_is_unreadable(count):
    image = compress_frames(enhanced(FRAMES), FRAMES, RLELossless)
    image.NumberOfFrames = count
    with pytest.raises(UnreadablePixelsError):
        pixels_of(to_bytes(image), (0,))


def test_the_end_mark_may_be_missing_but_no_byte_before_it():
    content = fragmented(JPEGLSLossless, 1)
    assert content.endswith(END_OF_PIXELS)
    content = content.removesuffix(END_OF_PIXELS)
    assert np.array_equal(pixels_of(content, range(4)), FRAMES)
    with pytest.raises(UnreadablePixelsError):
        pixels_of(content[:-1], (0,))


def test_pixel_data_without_fragments_are_unreadable():
    image = compress_frames(enhanced(FRAMES), FRAMES, RLELossless)
    image.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0"
    with pytest.raises(UnreadablePixelsError):
        pixels_of(to_bytes(image), (0,))
