"""Parsing quietly, also when several threads read at once."""

import io
import logging
import threading
import warnings

import pydicom
import pytest
from dicom_files import dataset, mr_bytes, stream, to_bytes
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from mricore.imaging.attributes import parse_header, quiet_pydicom

LOGGERS = ("pydicom", "pydicom.pixels.utils", "pylibjpeg", "openjpeg", "jpeg_ls")


def test_pydicom_would_quote_values_if_it_were_not_silenced():
    """The silence guards against something real."""
    image = dataset()
    with quiet_pydicom():
        image.StudyInstanceUID = "Zyxwvut^Quentin"
        content = stream(image)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        str(pydicom.dcmread(content, stop_before_pixels=True))
    assert any("Zyxwvut" in str(one.message) for one in caught)


def test_silence_holds_until_the_last_of_several_threads_has_read():
    inside, other_done, release = threading.Event(), threading.Event(), threading.Event()
    before = [logging.getLogger(name).getEffectiveLevel() for name in LOGGERS]
    filters = list(warnings.filters)

    def long_reader():
        with quiet_pydicom():
            inside.set()
            release.wait(10)

    def short_reader():
        inside.wait(10)
        with quiet_pydicom():
            pass
        other_done.set()

    threads = [threading.Thread(target=target) for target in (long_reader, short_reader)]
    for thread in threads:
        thread.start()
    assert other_done.wait(10)
    loud = [name for name in LOGGERS if logging.getLogger(name).isEnabledFor(logging.CRITICAL)]
    silent_warnings = warnings.filters[0][0] == "ignore"
    release.set()
    for thread in threads:
        thread.join(10)
    assert loud == [] and silent_warnings
    assert [logging.getLogger(name).getEffectiveLevel() for name in LOGGERS] == before
    assert list(warnings.filters) == filters


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_whether_pixels_follow_is_known_in_every_encoding(syntax):
    with_pixels = dataset(syntax=syntax)
    without = dataset(syntax=syntax, PixelData=None)
    assert parse_header(stream(with_pixels))[1] is True
    assert parse_header(stream(without))[1] is False


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_bare_dataset_without_preamble_and_meta_is_read(syntax):
    content = to_bytes(dataset(syntax=syntax, Rows=64))
    meta = 144 + int.from_bytes(content[140:144], "little")
    image, pixels_follow = parse_header(io.BytesIO(content[meta:]))
    assert image.Rows == 64 and pixels_follow


def test_a_cut_header_is_an_error_and_a_whole_one_without_pixels_is_none():
    content = mr_bytes(PixelData=None)
    parse_header(io.BytesIO(content))
    with pytest.raises(EOFError):
        parse_header(io.BytesIO(content[:-1]))
