"""The private header of Siemens scanners (CSA): a list of named values inside one attribute."""

from __future__ import annotations

import struct
from collections.abc import Collection

from mricore.imaging.attributes import LONGEST_TEXT

_NEW = b"SV10"
_COUNT = struct.Struct("<I4x")
_ENTRY = struct.Struct("<64s4x4x4xI4x")
"""Name, multiplicity, value representation, type, number of values, mark."""
_VALUE = struct.Struct("<4xI8x")
_ALIGNMENT = 4


def csa_values(content: bytes, names: Collection[str]) -> dict[str, list[str]]:
    """The values of some entries as texts; entries that are missing are missing here.

    The older form lacks the first eight bytes and is the same otherwise.

    Raises:
        ValueError, struct.error: the header is damaged.
    """
    found: dict[str, list[str]] = {}
    position = 2 * len(_NEW) if content.startswith(_NEW) else 0
    (count,) = _COUNT.unpack_from(content, position)
    position += _COUNT.size
    for _ in range(count):
        field, size = _ENTRY.unpack_from(content, position)
        name = field.partition(b"\0")[0].decode("latin-1")
        values, position = _values(content, position + _ENTRY.size, size)
        if name in names:
            found[name] = values
        if len(found) == len(names):
            break
    return found


def _values(content: bytes, position: int, count: int) -> tuple[list[str], int]:
    """The values of an entry that are not empty, and where the next entry begins."""
    found = []
    for _ in range(count):
        (length,) = _VALUE.unpack_from(content, position)
        position += _VALUE.size
        value = content[position : position + min(length, LONGEST_TEXT)].partition(b"\0")[0]
        position += length + -length % _ALIGNMENT
        if value:
            found.append(value.decode("latin-1").strip())
    return found, position
