"""Slices as MetaImage files (.mha): a header of text and raw values, which nnU-Net reads and writes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"MET_UCHAR": "u1", "MET_USHORT": "<u2", "MET_SHORT": "<i2", "MET_FLOAT": "<f4"}
_LAST = b"ElementDataFile = LOCAL\n"
"""The line after which the values begin."""


def write_slice(path: Path, values: NDArray[Any], spacing: tuple[float, float]) -> None:
    """Write (R, C) as uint8 if it is, else float32; ``spacing`` in mm from row to row, column to column."""
    kind = "MET_UCHAR" if values.dtype == np.uint8 else "MET_FLOAT"
    rows, columns = values.shape
    header = (
        "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        "CompressedData = False\n"
        f"ElementSpacing = {spacing[1]!r} {spacing[0]!r}\nDimSize = {columns} {rows}\nElementType = {kind}\n"
    )
    path.write_bytes(header.encode() + _LAST + values.astype(_TYPES[kind]).tobytes())


def read_slice(path: Path) -> NDArray[Any]:
    """The values (R, C) of a file with one slice, compressed or not.

    Raises:
        ValueError: it is no such file.
    """
    header, found, content = path.read_bytes().partition(_LAST)
    fields = dict(line.split(" = ", 1) for line in header.decode("ascii").splitlines() if " = " in line)
    if not found or fields.get("ElementType") not in _TYPES or fields.get("NDims") != "2":
        raise ValueError("not a MetaImage of one slice")
    return _values(fields, content)


def _values(fields: Mapping[str, str], content: bytes) -> NDArray[Any]:
    if fields.get("CompressedData") == "True":
        content = zlib.decompress(content)
    kind = np.dtype(_TYPES[fields["ElementType"]])
    if fields.get("BinaryDataByteOrderMSB") == "True":
        kind = kind.newbyteorder(">")
    columns, rows = (int(size) for size in fields["DimSize"].split())
    return np.frombuffer(content, kind).reshape(rows, columns)
