"""Headers that a codec in C++ does not forgive: each case runs in another process, which must survive."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import image_of
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from mricore.imaging.pixels import UnreadablePixelsError

READ = """
import sys
from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
for path in sys.argv[1:]:
    print(path, flush=True)
    try:
        with open(path, "rb") as stream:
            list(read_pixels(stream))
    except UnreadablePixelsError:
        pass
print("survived")
"""
SOURCES = (
    "JPGExtended.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_RLE.dcm",
)
HOSTILE = {
    "PixelRepresentation": (2, 5888, 65535),
    "BitsStored": (0, 1, 13, 17, 40, 65535),
    "HighBit": (0, 16, 65535),
    "BitsAllocated": (0, 1, 8, 12, 32, 64, 65535),
    "SamplesPerPixel": (0, 2, 3, 65535),
    "Rows": (0, 1, 63, 257, 65535),
    "Columns": (0, 1, 63, 257, 65535),
    "NumberOfFrames": (0, 2, 2**31 - 1),
    "PlanarConfiguration": (1, 7),
}


def damaged(source, keyword, value):
    image = pydicom.dcmread(get_testdata_file(source, download=False))
    setattr(image, keyword, value)
    content = io.BytesIO()
    image.save_as(content)
    return content.getvalue()


@pytest.mark.parametrize("source", SOURCES)
def test_an_impossible_header_does_not_kill_the_process(source, tmp_path):
    paths = []
    for keyword, values in HOSTILE.items():
        for value in values:
            paths.append(tmp_path / f"{keyword}_{value}")
            paths[-1].write_bytes(damaged(source, keyword, value))
    result = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True, timeout=60)
    last = result.stdout.splitlines()[-1] if result.stdout else result.stderr
    assert (result.returncode, last) == (0, "survived")


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_damaged_codestreams_do_not_kill_the_process(syntax, tmp_path):
    source = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False))
    source.compress(syntax, generate_instance_uid=False)
    content = io.BytesIO()
    source.save_as(content)
    start = content.getvalue().index(b"\xe0\x7f\x10\x00")
    rng = np.random.default_rng(0)
    paths = []
    for number in range(60):
        bad = bytearray(content.getvalue())
        for place in rng.integers(start, min(len(bad), start + 400), rng.integers(1, 6)):
            bad[place] = rng.integers(256)
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(bad)
    result = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True, timeout=60)
    last = result.stdout.splitlines()[-1] if result.stdout else result.stderr
    assert (result.returncode, last) == (0, "survived")


def test_the_sources_themselves_are_readable():
    for source in SOURCES:
        assert image_of(Path(get_testdata_file(source, download=False)).read_bytes()).size > 0
    with pytest.raises(UnreadablePixelsError):
        image_of(damaged("MR_small_RLE.dcm", "Rows", 0))
