"""Stored integers of one DICOM image, losslessly, at native bit depth."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mricore.imaging.headers import UNREADABLE, quiet_pydicom
from mricore.records import Pixels, Reason


class UnreadablePixelsError(Exception):
    """The pixels of a file cannot be had; carries the reason and nothing of the file."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(str(reason))


def read_pixels(stream: BinaryIO) -> Pixels:
    """Decode one image: (rows, columns), uint16 or int16.

    Signed or unsigned as the header says; only the stored bits survive, so overlays hidden in high bits do
    not; 8-bit images are widened. MONOCHROME1 (low is bright) is turned around inside the stored range,
    so that a larger integer is always brighter; the rescale slope then applies to the turned integers.

    Raises:
        UnreadablePixelsError: no decoder, damaged or truncated data, or not one greyscale image.
    """
    with quiet_pydicom():
        try:
            dataset = pydicom.dcmread(stream)
            raw = dataset.pixel_array
            return _stored_integers(dataset, raw)
        except UNREADABLE as error:
            raise UnreadablePixelsError(Reason.UNREADABLE_PIXELS) from _without_text(error)


def _stored_integers(dataset: Dataset, raw: NDArray[Any]) -> Pixels:
    bits = int(dataset.BitsStored)
    if raw.ndim != 2 or raw.size == 0 or not np.issubdtype(raw.dtype, np.integer) or not 1 <= bits <= 16:
        raise ValueError("not one greyscale image of at most 16 bits")
    signed = bool(dataset.PixelRepresentation)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    words = raw.astype(np.int32) & ((1 << bits) - 1)
    if signed:
        words -= (words >> (bits - 1)) << bits
    if str(dataset.PhotometricInterpretation) == "MONOCHROME1":
        words = low + high - words
    return words.astype(np.int16) if signed else words.astype(np.uint16)


def _without_text(error: BaseException) -> BaseException:
    """A decoder's message may quote the file; keep its type for us, drop its words."""
    return type("DecoderError", (Exception,), {})(type(error).__name__)
