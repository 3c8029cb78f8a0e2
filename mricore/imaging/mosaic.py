"""Siemens mosaics: a volume whose slices are tiled into one image, row by row."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mricore.imaging.attributes import number, private_number, words
from mricore.imaging.csa import csa_values
from mricore.imaging.elements import Elements
from mricore.imaging.geometry import Vector, normal

MAX_TILES = 1024
_COUNT_PLACE = (0x0019, "SIEMENS MR HEADER", 0x0A, "US")
_CSA = (0x0029, "SIEMENS CSA HEADER", 0x10)
_COUNT, _NORMAL = "NumberOfImagesInMosaic", "SliceNormalVector"


@dataclass(frozen=True)
class Mosaic:
    """Tiles of the same size (pixels) and the position of each one's first pixel (mm)."""

    rows: int
    columns: int
    positions: tuple[Vector, ...]


def is_mosaic(header: Elements) -> bool:
    """Whether the only image of a file is made of tiles."""
    return "MOSAIC" in words(header, "ImageType") or private_number(header, *_COUNT_PLACE) > 1


def read_mosaic(
    header: Elements,
    shape: tuple[int, int],
    orientation: Sequence[float],
    position: Sequence[float],
    spacing: Sequence[float],
) -> Mosaic | None:
    """The tiles of a mosaic of ``shape`` (rows, columns), geometry in mm; None if they cannot be told.

    The scanner writes the position that the mosaic would have, were it one image with the centre of the
    slice. So the first tile's corner lies half the difference of the sizes further along rows and columns.
    """
    values = _csa(header)
    count = private_number(header, *_COUNT_PLACE)
    count = count if count >= 1 else _first(values.get(_COUNT, []))
    distance = _first_positive(number(header, "SpacingBetweenSlices"), number(header, "SliceThickness"))
    if not 1 <= count <= MAX_TILES or not (distance > 0 or count == 1):
        return None
    side = math.ceil(math.sqrt(count))
    rows, columns = shape[0] // side, shape[1] // side
    if (rows * side, columns * side) != tuple(shape) or not rows * columns:
        return None
    along_row, along_column = (shape[1] - columns) / 2 * spacing[1], (shape[0] - rows) / 2 * spacing[0]
    corner = _moved(_moved(position, orientation[:3], along_row), orientation[3:], along_column)
    step = distance if count > 1 else 0.0
    direction = _direction(orientation, values.get(_NORMAL, []))
    return Mosaic(rows, columns, tuple(_moved(corner, direction, k * step) for k in range(int(count))))


def _csa(header: Elements) -> dict[str, list[str]]:
    """What Siemens' private header says of the tiles; nothing if it is missing or damaged."""
    tag = header.private(*_CSA)
    try:
        return {} if tag is None else csa_values(header.raw(tag), (_COUNT, _NORMAL))
    except (ValueError, struct.error):
        return {}


def _first(values: Sequence[str]) -> float:
    try:
        return float(values[0])
    except (IndexError, ValueError):
        return math.nan


def _first_positive(*values: float) -> float:
    return next((value for value in values if value > 0), math.nan)


def _direction(orientation: Sequence[float], told: Sequence[str]) -> Vector:
    """The normal of the slices, to the side to which the scanner says that they follow each other."""
    x, y, z = normal(orientation)
    components = [_first([value]) for value in told]
    against = len(components) == 3 and sum(a * b for a, b in zip((x, y, z), components, strict=True)) < 0
    return (-x, -y, -z) if against else (x, y, z)


def _moved(place: Sequence[float], direction: Sequence[float], distance: float) -> Vector:
    x, y, z = (start + distance * step for start, step in zip(place, direction, strict=True))
    return x, y, z
