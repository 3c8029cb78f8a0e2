"""Damages valid files by seed and reads them; run as a program for a range of seeds, see ``main``.

The program ends with 0 and one line of JSON if every file was read or refused as promised. Otherwise its last
line says which seed broke the promise, crashed a codec or took too long.
"""

import faulthandler
import io
import json
import logging
import struct
import sys
import warnings
from collections import Counter

import numpy as np
from compressed_files import compress_frames, compressed
from dicom_files import dataset, to_bytes
from enhanced_files import axial, enhanced, stack, with_undefined_lengths
from mosaic_files import csa_header, mosaic
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from mricore.imaging.headers import FrameHeader, read_file
from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
from mricore.records import Reason

SECONDS = 20
"""Far more than any file needs: what takes longer hangs."""
MOST_FRAMES = 8
PLANTED = ("ZORBLATT", "PID7731905", "9.87.6543.21", "FREETEXTSECRET", "XYLOPHONIA", "19471103")
_IDENTIFIERS = {
    "PatientName": "ZORBLATT^QUENTINA",
    "PatientID": "PID7731905",
    "PatientBirthDate": "19471103",
    "InstitutionName": "XYLOPHONIA GENERAL",
    "StudyDescription": "FREETEXTSECRET Knie für alle",
    "StudyInstanceUID": "9.87.6543.21",
    "SeriesInstanceUID": "9.87.6543.21.1",
    "SOPInstanceUID": "9.87.6543.21.2",
    "SpecificCharacterSet": "ISO_IR 192",
}
_LENGTHS = (0, 1, 2, 7, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_REPRESENTATIONS = (b"OB", b"OW", b"SQ", b"UN", b"US", b"DS", b"IS", b"CS", b"LO", b"UI", b"FD", b"UL")


def bases():
    """The valid files, each with planted identifiers."""
    frames = stack()
    grouped = enhanced(frames, shared=axial(MREchoSequence={"EffectiveEchoTime": 12.5}))
    csa = csa_header({"NumberOfImagesInMosaic": ["4"], "SliceNormalVector": ["0", "0", "-1"]})
    images = [
        dataset(PixelPaddingValue=0),
        dataset(syntax=ImplicitVRLittleEndian),
        dataset(syntax=ExplicitVRBigEndian, PhotometricInterpretation="MONOCHROME1"),
        dataset(syntax=DeflatedExplicitVRLittleEndian),
        *(compressed(frames[0], syntax) for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless)),
        *(compressed(frames[0], syntax) for syntax in (JPEGLosslessSV1, JPEGExtended12Bit)),
        grouped,
        with_undefined_lengths(enhanced(frames)),
        compress_frames(enhanced(frames), frames, RLELossless),
        compress_frames(with_undefined_lengths(enhanced(frames)), frames, JPEG2000Lossless),
        mosaic(frames, 4, csa),
    ]
    for image in images:
        for keyword, value in _IDENTIFIERS.items():
            setattr(image, keyword, value)
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return [to_bytes(image) for image in images]


def mutated(files, seed):
    """One of the files with some damage, most often in its header."""
    rng = np.random.default_rng(seed)
    content = bytearray(files[seed % len(files)])
    header = min(len(content), content.rfind(b"\xe0\x7f") % len(content) + 400)
    for _ in range(rng.integers(1, 4)):
        span = header if rng.random() < 0.7 else len(content)
        kind = _KINDS[rng.integers(len(_KINDS))]
        content = kind(content, int(rng.integers(132, max(133, min(span, len(content))))), rng, files)
    return bytes(content)


def _bits(content, place, rng, _):
    for position in rng.integers(place // 2, len(content), rng.integers(1, 20)):
        content[position] ^= 1 << int(rng.integers(8))
    return content


def _run(content, place, rng, _):
    size = int(rng.integers(1, 40))
    value = int(rng.choice([0, 0xFF, 0x20, int(rng.integers(256))]))
    content[place : place + size] = bytes([value]) * size
    return content


def _cut(content, place, rng, _):
    return content[: place if rng.random() < 0.5 else int(rng.integers(len(content) // 2, len(content)))]


def _length(content, place, rng, _):
    """The length of the next attribute or item becomes another one."""
    position = content.find(_REPRESENTATIONS[rng.integers(len(_REPRESENTATIONS))], place)
    if rng.random() < 0.3:
        position = content.find(b"\xfe\xff\x00\xe0", place)
    if position < 0:
        return content
    size = 4 if rng.random() < 0.7 else 2
    value = int(rng.choice(_LENGTHS)) & ((1 << 8 * size) - 1)
    at = position + (4 if size == 4 else 2)
    content[at : at + size] = value.to_bytes(size, "little" if rng.random() < 0.8 else "big")
    return content


def _number(content, place, rng, _):
    """A 16-bit number of the image pixel module becomes another one."""
    tag = struct.pack("<HH", 0x0028, int(rng.choice([0x02, 0x10, 0x11, 0x100, 0x101, 0x102, 0x103])))
    position = content.find(tag)
    if position >= 0:
        value = int(rng.choice([0, 1, 2, 8, 15, 17, 63, 65, 255, 4097, 65535]))
        content[position + 8 : position + 10] = struct.pack("<H", value)
    return content


def _splice(content, place, rng, files):
    """A piece of this or of another file is put in, or in the place of what is there."""
    other = files[rng.integers(len(files))] if rng.random() < 0.5 else bytes(content)
    start = int(rng.integers(len(other)))
    piece = other[start : start + int(rng.integers(1, 600))]
    content[place : place + (len(piece) if rng.random() < 0.5 else 0)] = piece
    return content


_KINDS = (_bits, _run, _cut, _length, _length, _number, _splice)


def outcome(content):
    """What becomes of a file: its reason or "frames", and whether pixels could be had.

    Raises:
        Exception: a promise is broken.
    """
    read = read_file(io.BytesIO(content), "ZORBLATT.dcm")
    found, frames, shape = read.images, (0,), None
    if bool(found) == isinstance(read.refused, Reason):
        raise AssertionError("neither headers nor a reason, or both")
    if found:
        if not all(type(header) is FrameHeader for header in found):
            raise AssertionError("no headers")
        frames, shape = [header.frame for header in found[:MOST_FRAMES]], (found[0].rows, found[0].columns)
    try:
        images = list(read_pixels(io.BytesIO(content), frames, shape))
    except UnreadablePixelsError as error:
        if error.__context__ or error.__cause__:
            raise AssertionError("the decoder's message rides along") from None
        return str(read.refused or "frames"), "unreadable"
    if len(images) != len(frames) or any(image.ndim != 2 for image in images):
        raise AssertionError("not the images asked for")
    return str(read.refused or "frames"), "pixels"


def main(first, after):
    """Read the files of the seeds from ``first`` up to ``after``."""
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    warnings.simplefilter("always")
    files = bases()
    counts = Counter()
    for seed in range(first, after):
        content = mutated(files, seed)
        print(seed, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        counts["/".join(outcome(content))] += 1
        faulthandler.cancel_dump_traceback_later()
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
