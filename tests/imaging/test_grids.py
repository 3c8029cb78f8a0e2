"""United Imaging's grids: each tile is where its own item says."""

import numpy as np
import pytest
from dicom_files import frames_of, pixels_of, stream, to_bytes
from enhanced_files import stack
from mosaic_files import grid
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mricore.imaging.headers import read_file
from mricore.records import Reason

ROWS, COLUMNS = 48, 40


def places(count):
    """Positions that lie on no line, so that a rule could not give them."""
    return [(k % 3, -0.5 * k, 3.5 * k) for k in range(count)]


def example(slices=20, **changes):
    return grid(**{"volume": stack(slices, ROWS, COLUMNS), "positions": places(slices), **changes})


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_each_tile_is_an_image_at_its_own_place(syntax):
    headers = frames_of(to_bytes(example(syntax=syntax, EchoTime=33)))
    assert [header.frame for header in headers] == list(range(20))
    assert {(header.rows, header.columns, header.echo_time) for header in headers} == {(ROWS, COLUMNS, 33.0)}
    assert np.allclose([header.position for header in headers], places(20))


@pytest.mark.parametrize(
    ("count", "down", "across"), [(20, 4, 5), (16, 4, 4), (17, 4, 5), (6, 2, 3), (2, 1, 2), (1, 1, 1)]
)
def test_pixels_of_the_tiles_are_the_slices(count, down, across):
    """A grid has no empty row: 20 tiles of a real one (64 x 64) fill 256 x 320 pixels."""
    volume = stack(count, ROWS, COLUMNS)
    image = example(count, volume=volume)
    assert (image.Rows, image.Columns) == (down * ROWS, across * COLUMNS)
    headers = frames_of(to_bytes(image))
    shape = headers[0].rows, headers[0].columns
    assert np.array_equal(pixels_of(to_bytes(image), [header.frame for header in headers], shape), volume)


def test_tiles_without_a_place_are_counted():
    found = read_file(stream(example(6, positions=[*places(4), None, None])), "file")
    assert ([header.frame for header in found.images], found.unplaced) == ([0, 1, 2, 3], 2)


REFUSED = {
    "another count than there are tiles": (Reason.MOSAIC, {"count": 19}),
    "no tiles": (Reason.MOSAIC, {"positions": [], "count": 0}),
    "more tiles than any scanner writes": (Reason.MOSAIC, {"positions": places(1025), "count": 1025}),
    "tiles that do not fill the image": (Reason.MOSAIC, {"positions": places(50), "count": 50}),
    "tiles without places": (Reason.NO_GEOMETRY, {"positions": [None] * 20}),
    "tiles without spacing": (Reason.NO_GEOMETRY, {"PixelSpacing": None}),
    "a sequence of another maker": (Reason.NO_GEOMETRY, {"creator": "Somebody else"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_grid_whose_tiles_cannot_be_told_is_refused(case):
    reason, changes = REFUSED[case]
    assert frames_of(to_bytes(example(**changes))) is reason
