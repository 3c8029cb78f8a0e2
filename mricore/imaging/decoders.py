"""Codestreams -> words of an image, each compression by one codec.

gdcm aborts the whole process on damaged JPEG-LS and JPEG 2000, so it serves only where nothing else does.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import gdcm  # type: ignore[import-untyped]
import jpeg_ls  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_jpeg2000
from PIL import Image
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
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

from mricore.imaging.codestreams import announced, has_end, jpeg2000_start, without_padding
from mricore.imaging.pixel_format import PixelFormat, sign_extended
from mricore.imaging.rle import decode_rle

_Codec = Callable[[bytes, PixelFormat], NDArray[Any]]


def decode(codestream: bytes, syntax: str, layout: PixelFormat) -> NDArray[Any]:
    """The words of one frame, (rows, columns); unused high bits are zero or repeat the sign but for RLE.

    JPEG 2000 and JPEG-LS may be written with fewer bits than the header says are stored; the sign is then the
    highest of these.

    Raises:
        KeyError: a compression without a decoder.
        Exception: whatever codecs raise on damaged data; above all on one that is not of this format.
    """
    if syntax == RLELossless:
        words = decode_rle(codestream, layout.rows * layout.columns, layout.allocated // 8)
        return words.reshape(layout.rows, layout.columns)
    codec = _CODECS[syntax]
    image = announced(codestream)
    if image[:3] != (layout.rows, layout.columns, 1) or image.bits > layout.allocated:
        raise ValueError("a codestream of another image")
    words = codec(codestream, layout).reshape(layout.rows, layout.columns)
    pattern = words.astype(np.uint16) & np.uint16((1 << image.bits) - 1)
    return pattern if syntax in _JPEG or not layout.signed else sign_extended(pattern, image.bits)


def _jpeg(codestream: bytes, _: PixelFormat) -> NDArray[Any]:
    with Image.open(io.BytesIO(codestream), formats=("JPEG",)) as image:
        return np.asarray(image)


def _jpeg_ls(codestream: bytes, _: PixelFormat) -> NDArray[Any]:
    if not has_end(codestream):
        raise ValueError("cut, which costs this codec seconds")
    try:
        return jpeg_ls.decode(np.frombuffer(codestream, np.uint8))
    except RuntimeError:
        # Some encoders pad the scan with a zero byte, at which this codec stops.
        return jpeg_ls.decode(np.frombuffer(without_padding(codestream), np.uint8))


def _jpeg2000(codestream: bytes, _: PixelFormat) -> NDArray[Any]:
    return decode_jpeg2000(codestream[jpeg2000_start(codestream) :], j2k_format=0)


def _lossless_jpeg(codestream: bytes, layout: PixelFormat) -> NDArray[Any]:
    return _by_gdcm(codestream, layout, gdcm.TransferSyntax.JPEGLosslessProcess14_1)


def _extended_jpeg(codestream: bytes, layout: PixelFormat) -> NDArray[Any]:
    """Of 8 or of 12 bits, which takes two codecs."""
    if announced(codestream).bits == 8:
        return _jpeg(codestream, layout)
    return _by_gdcm(codestream, layout, gdcm.TransferSyntax.JPEGExtendedProcess2_4)


def _by_gdcm(codestream: bytes, layout: PixelFormat, syntax: int) -> NDArray[Any]:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    gray = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gray))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = layout.stored
    image.SetPixelFormat(gdcm.PixelFormat(1, layout.allocated, bits, bits - 1, int(layout.signed)))
    # gdcm hands bytes over as text with surrogate escapes
    content = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(content, f"<u{layout.allocated // 8}")


_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
"""Compressions that know no sign."""
_CODECS: dict[str, _Codec] = {
    JPEGBaseline8Bit: _jpeg,
    JPEGExtended12Bit: _extended_jpeg,
    JPEGLossless: _lossless_jpeg,
    JPEGLosslessSV1: _lossless_jpeg,
    JPEGLSLossless: _jpeg_ls,
    JPEGLSNearLossless: _jpeg_ls,
    JPEG2000Lossless: _jpeg2000,
    JPEG2000: _jpeg2000,
    HTJ2KLossless: _jpeg2000,
    HTJ2KLosslessRPCL: _jpeg2000,
    HTJ2K: _jpeg2000,
}
