"""Parse DICOM quietly and read single attributes as plain Python values.

pydicom quotes the values of a file in its warnings and log records, and an identifier among them must
reach neither. Everything that parses a file therefore runs inside ``quiet_pydicom``.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

_PIXEL_TAGS = {0x7FE00008, 0x7FE00009, 0x7FE00010}  # float, double and integer pixel data
_PREAMBLE = 128
_FIRST_GROUPS = {b"\x02\x00", b"\x08\x00", b"\x00\x08"}
"""How a file without preamble begins: file meta information, or the dataset in either byte order."""
_NATIVE_SYNTAXES: dict[tuple[bool | None, bool | None], UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""By (implicit VR, little endian), as found in a file that does not say."""
_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "jpeg_ls")
LONGEST_TEXT = 1024
"""Far beyond what DICOM allows in the texts that are read here."""
_SILENT = logging.CRITICAL + 1


class _Silence:
    """Warnings and loggers are process-wide: the first reader silences them, the last one restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._restore = ExitStack()

    def begin(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers > 1:
                return
            self._restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            for logger in map(logging.getLogger, _LOGGERS):
                self._restore.callback(logger.setLevel, logger.level)
                logger.setLevel(_SILENT)

    def end(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._restore.close()


_silence = _Silence()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence the warnings and logs of pydicom and its codecs; several threads may read at once."""
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


def parse_header(stream: BinaryIO) -> tuple[FileDataset, bool]:
    """The attributes before the pixels, and whether pixels follow.

    Raises:
        InvalidDicomError: these bytes are not DICOM.
        EOFError: the file ends inside an attribute.
        Exception: whatever pydicom raises on damaged bytes.
    """
    pixels_follow = False

    def at_pixels(tag: BaseTag, _: str | None, length: int) -> bool:
        nonlocal pixels_follow
        if tag in _PIXEL_TAGS:
            pixels_follow = length > 0
        return tag in _PIXEL_TAGS

    forced = _lacks_preamble(stream)
    dataset = read_partial(stream, at_pixels, force=forced)
    if forced and not text(dataset, "SOPClassUID"):
        raise InvalidDicomError
    if not pixels_follow and _is_cut(dataset):
        raise EOFError
    return dataset, pixels_follow


def parse_image(stream: BinaryIO) -> FileDataset:
    """A whole file; raises as ``parse_header`` does."""
    dataset = pydicom.dcmread(stream, force=_lacks_preamble(stream))
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _NATIVE_SYNTAXES[dataset.original_encoding]
    return dataset


def _lacks_preamble(stream: BinaryIO) -> bool:
    """Whether DICOM begins at the first byte, as in files of old archives."""
    start = stream.tell()
    head = stream.read(_PREAMBLE + 4)
    stream.seek(start)
    if head[_PREAMBLE:] == b"DICM":
        return False
    if head[:2] not in _FIRST_GROUPS:
        raise InvalidDicomError
    return True


def _is_cut(dataset: Dataset) -> bool:
    """Whether the last attribute announces more bytes than the file had (pydicom does not complain)."""
    last = dataset.get_item(max(dataset.keys())) if len(dataset) else None
    return isinstance(last, RawDataElement) and last.value is not None and len(last.value) < last.length


def text(dataset: Dataset, name: str) -> str:
    """A text without its padding, cut to ``LONGEST_TEXT`` characters; empty if missing."""
    value = dataset.get(name)
    return "" if value is None else str(value)[:LONGEST_TEXT].strip(" \0")


def words(dataset: Dataset, name: str) -> tuple[str, ...]:
    """The values of a coded string in upper case."""
    value = dataset.get(name)
    if value is None or value == "":
        return ()
    return tuple(str(part).strip().upper() for part in ((value,) if isinstance(value, str) else value))


def number(dataset: Dataset, name: str) -> float:
    """A number, the first one of several; NaN if missing or not a finite number."""
    return _finite(dataset.get(name))


def numbers(dataset: Dataset, name: str) -> tuple[float, ...]:
    """Several numbers; empty if one of them is missing or not finite."""
    value = dataset.get(name)
    found = tuple(_finite(part) for part in value) if _is_list(value) else ()
    return found if all(math.isfinite(part) for part in found) else ()


def integer(dataset: Dataset, name: str) -> int | None:
    """A whole number, the first one of several; None if missing."""
    found = _finite(dataset.get(name))
    return int(found) if math.isfinite(found) else None


def private_number(dataset: Dataset, group: int, creator: str, element: int) -> float:
    """The first number of a vendor's private attribute; NaN if missing.

    After transfer in Implicit VR the type of a private attribute is unknown and its value is raw bytes:
    then it is read as decimal text, or as a 32-bit float if it is none.
    """
    try:
        value = dataset.private_block(group, creator)[element].value
    except KeyError:
        return math.nan
    if not isinstance(value, bytes):
        return _finite(value)
    found = _finite(value.split(b"\\")[0].strip(b" \0"))
    if math.isnan(found) and len(value) == 4:
        found = _finite(struct.unpack("<f", value)[0])
    return found


def _is_list(value: Any) -> bool:
    return hasattr(value, "append")


def _finite(value: Any) -> float:
    first: Any = (value[0] if len(value) else None) if _is_list(value) else value
    try:
        found = float(first)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan
