"""Single attributes of a data set as plain Python values, by DICOM's keywords."""

from __future__ import annotations

import math
import struct
from functools import cache, lru_cache

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import TEXT_VR_DELIMS

from mricore.imaging.elements import Elements
from mricore.imaging.quiet import quiet

LONGEST_TEXT = 1024
"""Characters; far beyond what DICOM allows in the texts that are read here."""
_LONGEST_VALUE = 4 * LONGEST_TEXT
_LARGEST_INTEGER = 1 << 31
_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
"""Formats of ``struct`` by value representation."""
_UNTOLD = ("", "UN")
_ESCAPE = b"\x1b"


def text(elements: Elements, keyword: str) -> str:
    """A text without its padding, cut to ``LONGEST_TEXT`` characters; empty if missing."""
    content = elements.raw(tag_of(keyword), _LONGEST_VALUE)
    plain = content.isascii() and _ESCAPE not in content
    decoded = content.decode("ascii") if plain else _decoded(content, elements.charset)
    return decoded[:LONGEST_TEXT].strip(" \0")


def words(elements: Elements, keyword: str) -> tuple[str, ...]:
    """The values of a coded string in upper case."""
    found = text(elements, keyword)
    return tuple(part.strip(" \0").upper() for part in found.split("\\")) if found else ()


def number(elements: Elements, keyword: str) -> float:
    """A number, the first one of several; NaN if missing or not a finite number."""
    return next(iter(_values(elements, tag_of(keyword))), math.nan)


def numbers(elements: Elements, keyword: str) -> tuple[float, ...]:
    """Several numbers; empty if one of them is missing or not finite."""
    found = _values(elements, tag_of(keyword))
    return found if all(map(math.isfinite, found)) else ()


def integer(elements: Elements, keyword: str) -> int | None:
    """A whole number of 32 bits, the first one of several; None if missing."""
    found = number(elements, keyword)
    return int(found) if abs(found) < _LARGEST_INTEGER else None


def private_number(elements: Elements, group: int, creator: str, element: int, vr: str) -> float:
    """The first number of a vendor's private attribute; NaN if missing.

    ``vr`` is what the vendor documents: after transfer in Implicit VR the file does not state it.
    """
    tag = elements.private(group, creator, element)
    return math.nan if tag is None else next(iter(_values(elements, tag, vr)), math.nan)


def _values(elements: Elements, tag: int, vr: str = "") -> tuple[float, ...]:
    """The numbers of a value, NaN for what is no finite number; none if the value is missing or empty.

    ``vr`` serves if the file does not state the value representation; by default it is the standard's.
    """
    content = elements.raw(tag, _LONGEST_VALUE)
    if not content:
        return ()
    stated = elements.vr(tag)
    code = _BINARY.get((vr or _dictionary_vr(tag)) if stated in _UNTOLD else stated)
    if code is None:
        return tuple(_finite(part.strip(b" \0")) for part in content.split(b"\\"))
    size = struct.calcsize(f"<{code}")
    whole = content[: len(content) // size * size]
    return tuple(_finite(part) for (part,) in struct.iter_unpack(f"{elements.order}{code}", whole))


def _finite(value: bytes | float) -> float:
    try:
        found = float(value)
    except ValueError:
        return math.nan
    return found if math.isfinite(found) else math.nan


@cache
def tag_of(keyword: str) -> int:
    """The tag of an attribute.

    Raises:
        KeyError: DICOM knows no such keyword.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag


def _dictionary_vr(tag: int) -> str:
    """The first value representation that the standard allows; empty for a private attribute."""
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return ""


@lru_cache(maxsize=256)
def _decoded(content: bytes, charset: bytes) -> str:
    """A text in the character sets of a file; what they do not know is replaced."""
    names = [name.strip() for name in charset.replace(b"\0", b" ").decode("ascii", "replace").split("\\")]
    with quiet():
        return decode_bytes(content, convert_encodings(names), TEXT_VR_DELIMS)
