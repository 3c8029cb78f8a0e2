"""Silence around codecs, also when several threads read at once."""

import logging
import threading
import warnings

import pydicom
from dicom_files import dataset, stream

from mricore.imaging.quiet import quiet

LOGGERS = ("pydicom", "pydicom.pixels.utils", "pylibjpeg", "openjpeg", "jpeg_ls", "PIL")


def test_pydicom_would_quote_values_if_it_were_not_silenced():
    """The silence guards against something real."""
    image = dataset()
    with quiet():
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
        with quiet():
            inside.set()
            release.wait(10)

    def short_reader():
        inside.wait(10)
        with quiet():
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
