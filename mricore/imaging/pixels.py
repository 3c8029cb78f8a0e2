"""Stored integers of one DICOM image, losslessly, at native bit depth."""

from __future__ import annotations

from typing import Any, BinaryIO

import gdcm  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from mricore.imaging.attributes import parse_image, quiet_pydicom
from mricore.imaging.codestreams import announced, without_padding
from mricore.records import Pixels, Reason

MAX_BITS = 16
MAX_PIXELS = 1 << 24
"""Beyond any MR matrix; a damaged header must not make a worker allocate gigabytes."""

_PLUGINS: dict[str, str] = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
}
"""The codec of each compression. gdcm aborts the whole process on damaged JPEG-LS and JPEG 2000, so it
serves only where nothing else does."""


class UnreadablePixelsError(Exception):
    """The pixels of a file cannot be had; carries the reason and nothing of the file."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason)


def read_pixels(stream: BinaryIO) -> Pixels:
    """Decode one image: (rows, columns), uint16 or int16.

    Signed or unsigned as the header says; only the stored bits survive, so overlays hidden in high bits do
    not, and a value that does not fit into the stored bits is damage; 8-bit images are widened. MONOCHROME1
    (low is bright) is turned around inside the stored range, v -> low + high - v with [low, high] the range
    of BitsStored, so that a larger integer is always brighter; slope and intercept then apply to the turned
    integers.

    Raises:
        UnreadablePixelsError: no decoder, damaged or truncated data, or not one greyscale image.
    """
    pixels = _decoded(stream)
    if pixels is None:
        # Raised outside the handler: the decoder's message may quote the file and must not ride along.
        raise UnreadablePixelsError(Reason.UNREADABLE_PIXELS)
    return pixels


def _decoded(stream: BinaryIO) -> Pixels | None:
    with quiet_pydicom():
        try:
            dataset = parse_image(stream)
            return _stored_integers(dataset, _samples(dataset)) if _is_plausible(dataset) else None
        except Exception:  # noqa: BLE001 - codecs raise almost anything on damaged bytes
            return None


def _is_plausible(dataset: FileDataset) -> bool:
    """Checks that must come before decoding: codecs trust what a header announces."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    depth, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    if rows * columns > MAX_PIXELS or not 1 <= depth <= min(MAX_BITS, allocated):
        return False
    # gdcm aborts the process on other values
    if int(dataset.PixelRepresentation) not in (0, 1) or int(dataset.get("SamplesPerPixel", 1)) != 1:
        return False
    if not _is_codestream(dataset):
        return True
    found = announced(_codestream(dataset))
    return found[:3] == (rows, columns, 1) and found.bits <= allocated


def _codestream(dataset: FileDataset) -> bytes:
    return b"".join(generate_frames(dataset.PixelData, number_of_frames=1))


def _is_codestream(dataset: FileDataset) -> bool:
    """Whether the pixels are a JPEG, JPEG-LS or JPEG 2000 codestream."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    return syntax.is_encapsulated and syntax != RLELossless


def _samples(dataset: FileDataset) -> NDArray[Any]:
    """What the file stores, (rows, columns), unused bits included."""
    if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit and int(dataset.BitsAllocated) == MAX_BITS:
        return _extended_jpeg(dataset)
    plugin = _PLUGINS.get(dataset.file_meta.TransferSyntaxUID, "")
    try:
        return pixel_array(dataset, decoding_plugin=plugin, correct_unused_bits=False)
    except RuntimeError:
        if plugin != "pyjpegls":
            raise
        # Some encoders pad the scan with a zero byte, at which this codec stops.
        dataset.PixelData = encapsulate([without_padding(_codestream(dataset))])
        return pixel_array(dataset, decoding_plugin=plugin, correct_unused_bits=False)


def _extended_jpeg(dataset: FileDataset) -> NDArray[Any]:
    """Lossy JPEG of 12 bits: gdcm has a codec that pydicom does not use."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(_codestream(dataset))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(dataset.Columns), int(dataset.Rows), 1))
    image.SetDataElement(element)
    gray = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gray))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    bits = int(dataset.BitsStored)
    image.SetPixelFormat(gdcm.PixelFormat(1, MAX_BITS, bits, bits - 1, int(dataset.PixelRepresentation)))
    # gdcm hands bytes over as text with surrogate escapes
    content = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(content, "<u2").reshape(int(dataset.Rows), int(dataset.Columns))


def _stored_integers(dataset: FileDataset, raw: NDArray[Any]) -> Pixels:
    bits = int(dataset.BitsStored)
    if (
        raw.ndim != 2
        or raw.size == 0
        or not np.issubdtype(raw.dtype, np.integer)
        or not 1 <= bits <= MAX_BITS
    ):
        raise ValueError("not one greyscale image of at most 16 bits")
    signed = bool(dataset.PixelRepresentation)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    found = raw.astype(np.int32) >> _unused_low_bits(dataset, bits)
    integers = found & ((1 << bits) - 1)
    if signed:
        integers -= (integers >> (bits - 1)) << bits
    if not _has_overlays(dataset):
        _refuse_overflow(found, integers, bits, int(dataset.BitsAllocated))
    if str(dataset.PhotometricInterpretation) == "MONOCHROME1":
        integers = low + high - integers
    return integers.astype(np.int16) if signed else integers.astype(np.uint16)


def _has_overlays(dataset: FileDataset) -> bool:
    """Whether there are overlays, which old files keep in the unused bits of the pixels."""
    tags = dataset.keys()
    return any(tag.group & 0xFF00 == 0x6000 for tag in tags)


def _refuse_overflow(
    found: NDArray[np.int32], integers: NDArray[np.int32], bits: int, allocated: int
) -> None:
    """Unused high bits are zero, or repeat the sign; anything else is a value that BitsStored cannot hold."""
    whole = (1 << allocated) - 1
    high = (found & whole) >> bits
    if not ((high == 0) | ((integers < 0) & (high == whole >> bits))).all():
        raise ValueError("values above the stored bits")


def _unused_low_bits(dataset: FileDataset, bits: int) -> int:
    """Bits below the stored ones; codecs other than RLE deliver the stored bits alone."""
    return 0 if _is_codestream(dataset) else max(0, int(dataset.get("HighBit", bits - 1)) + 1 - bits)
