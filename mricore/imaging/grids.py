"""United Imaging's grids: a volume whose slices are tiled into one image, each with attributes of its own."""

from __future__ import annotations

import math
from itertools import islice
from typing import NamedTuple

from mricore.imaging.attributes import private_number
from mricore.imaging.elements import Elements
from mricore.imaging.mosaic import MAX_TILES

_CREATOR = "Image Private Header"
_COUNT = (0x0065, _CREATOR, 0x50, "DS")
_TILES = (0x0065, _CREATOR, 0x51)
"""A sequence of what differs between the tiles, their positions above all."""


class Grid(NamedTuple):
    """The size of a tile in pixels, and the attributes of each tile, row by row."""

    rows: int
    columns: int
    tiles: tuple[Elements, ...]


def is_grid(header: Elements) -> bool:
    """Whether an image is made of tiles that a sequence describes."""
    sequence = header.private(*_TILES)
    return sequence is not None and sequence in header


def read_grid(header: Elements, shape: tuple[int, int]) -> Grid | None:
    """The tiles of a grid of ``shape`` (rows, columns); None if they cannot be told.

    A grid is as wide as the smallest square that holds its tiles, and has no empty row: 20 tiles lie in 4
    rows of 5.
    """
    sequence = header.private(*_TILES)
    if sequence is None:
        return None
    tiles = tuple(item.over(header) for item in islice(header.items(sequence), MAX_TILES + 1))
    if not 1 <= len(tiles) <= MAX_TILES or private_number(header, *_COUNT) != len(tiles):
        return None
    across = math.ceil(math.sqrt(len(tiles)))
    down = math.ceil(len(tiles) / across)
    rows, columns = shape[0] // down, shape[1] // across
    if (rows * down, columns * across) != shape or not rows * columns:
        return None
    return Grid(rows, columns, tiles)
