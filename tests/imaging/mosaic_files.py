"""Mosaics and grids as DICOM datasets, with the private attributes that tell their tiles."""

import math
import struct

import numpy as np
from dicom_files import dataset
from pydicom.dataset import Dataset


def tiled(volume):
    """Slices (slice, row, column) in one image, row by row in the smallest square; empty tiles are zero."""
    count, rows, columns = volume.shape
    side = math.ceil(math.sqrt(count))
    image = np.zeros((side * rows, side * columns), volume.dtype)
    for k, tile in enumerate(volume):
        row, column = divmod(k, side)
        image[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns] = tile
    return image


def grid(volume, positions, count=None, creator="Image Private Header", **attributes):
    """United Imaging's grid of slices (slice, row, column): a position (mm) for each, none for the image."""
    across = math.ceil(math.sqrt(len(volume)))
    rows = math.ceil(len(volume) / across) * volume.shape[1]
    image = dataset(tiled(volume)[:rows], **{"ImagePositionPatient": None, **attributes})
    block = image.private_block(0x0065, creator, create=True)
    block.add_new(0x50, "DS", str(len(volume) if count is None else count))
    block.add_new(0x51, "SQ", [_placed(position) for position in positions])
    return image


def _placed(position):
    tile = Dataset()
    if position is not None:
        tile.ImagePositionPatient = list(position)
    return tile


def mosaic(volume, count=None, csa=None, **attributes):
    """A mosaic of slices (slice, row, column) that says in one or both private headers how many there are."""
    image = dataset(tiled(volume), **{"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], **attributes})
    if count is not None:
        image.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    if csa is not None:
        image.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)
    return image


def csa_header(entries, new=True):
    """Siemens' private header from names and lists of texts; the older form begins without a mark."""
    content = (b"SV10\4\3\2\1" if new else b"") + struct.pack("<II", len(entries), 77)
    for name, values in entries.items():
        content += struct.pack("<64sI4sIII", name.encode(), len(values), b"DS", 3, 6, 77)
        for k in range(6):
            value = values[k].encode() + b"\0" if k < len(values) else b""
            content += struct.pack("<IIII", len(value), len(value), 77, len(value))
            content += value + bytes(-len(value) % 4)
    return content
