"""Mosaics: where the tiles lie, derived from the slices' centres, and which mosaics are refused."""

import numpy as np
import pytest
from dicom_files import frames_of, mr_bytes, pixels_of, to_bytes
from enhanced_files import stack
from mosaic_files import csa_header, mosaic

from mricore.records import Reason

COUNT, ROWS, COLUMNS = 7, 48, 40
SIDE = 3
DISTANCE = 3.5
SPACING = np.array([0.9, 1.2])
"""Between rows, between columns."""
ALONG_ROW = np.array([0.8, 0.6, 0.0])
ALONG_COLUMN = np.array([0.0, 0.0, -1.0])
NORMAL = np.cross(ALONG_ROW, ALONG_COLUMN)
CORNER = np.array([-50.0, 20.0, 30.0])


def extent(rows, columns):
    """From a corner to the centre of an image, in mm."""
    return ALONG_ROW * SPACING[1] * columns / 2 + ALONG_COLUMN * SPACING[0] * rows / 2


MOSAIC_CORNER = CORNER + extent(ROWS, COLUMNS) - extent(SIDE * ROWS, SIDE * COLUMNS)
"""The scanner places the mosaic as if it were an image that shares its centre with the first slice."""


def oblique(volume=None, count=COUNT, **attributes):
    """A mosaic whose first tile has its corner at ``CORNER``."""
    geometry = {
        "ImageOrientationPatient": [*ALONG_ROW, *ALONG_COLUMN],
        "ImagePositionPatient": list(MOSAIC_CORNER),
        "PixelSpacing": list(SPACING),
        "SpacingBetweenSlices": DISTANCE,
    }
    volume = stack(COUNT, ROWS, COLUMNS) if volume is None else volume
    return mosaic(volume, count, **{**geometry, **attributes})


def positions(image):
    return np.array([header.position for header in frames_of(to_bytes(image))])


def expected(sign=1):
    return CORNER + np.arange(COUNT)[:, None] * DISTANCE * sign * NORMAL


def test_each_tile_is_an_image_of_its_own_at_its_place():
    headers = frames_of(to_bytes(oblique()))
    assert [header.frame for header in headers] == list(range(COUNT))
    assert {(header.rows, header.columns) for header in headers} == {(ROWS, COLUMNS)}
    assert len({(header.sop_uid, header.instance_number, header.echo_time) for header in headers}) == 1
    assert np.allclose([header.position for header in headers], expected(), atol=1e-6)


def test_pixels_of_the_tiles_are_the_slices():
    volume = stack(COUNT, ROWS, COLUMNS)
    content = to_bytes(oblique(volume))
    header = frames_of(content)[0]
    assert np.array_equal(pixels_of(content, range(COUNT), (header.rows, header.columns)), volume)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_private_header_tells_to_which_side_slices_follow(sign):
    csa = csa_header({"SliceNormalVector": [str(sign * part) for part in NORMAL]})
    assert np.allclose(positions(oblique(csa=csa)), expected(sign), atol=1e-6)


@pytest.mark.parametrize("new", [True, False])
def test_the_number_of_tiles_may_stand_in_the_private_header_alone(new):
    csa = csa_header({"NumberOfImagesInMosaic": [str(COUNT)]}, new)
    assert np.allclose(positions(oblique(count=None, csa=csa)), expected(), atol=1e-6)


def test_a_mosaic_is_known_by_its_count_without_its_name():
    assert len(frames_of(to_bytes(oblique(ImageType=["ORIGINAL", "PRIMARY", "M"])))) == COUNT


def test_slices_without_a_distance_touch():
    thick = positions(oblique(SpacingBetweenSlices=None, SliceThickness=DISTANCE))
    assert np.allclose(thick, expected(), atol=1e-6)


def test_a_mosaic_of_one_tile_is_that_image():
    headers = frames_of(to_bytes(oblique(stack(1, ROWS, COLUMNS), 1, SpacingBetweenSlices=None)))
    assert [(header.frame, header.rows) for header in headers] == [(0, ROWS)]
    assert np.allclose(headers[0].position, MOSAIC_CORNER)


DAMAGED_CSA = csa_header({"NumberOfImagesInMosaic": ["7"]})[:100]
UNKNOWN = {
    "no count": lambda: oblique(count=None),
    "a count that is none": lambda: oblique(count=None, csa=csa_header({"NumberOfImagesInMosaic": ["many"]})),
    "a damaged private header": lambda: oblique(count=None, csa=DAMAGED_CSA),
    "more tiles than fit evenly": lambda: oblique(count=17),
    "more tiles than any scanner writes": lambda: oblique(count=5000),
    "no tiles": lambda: oblique(count=0),
    "no distance": lambda: oblique(SpacingBetweenSlices=None, SliceThickness=None),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_mosaic_whose_tiles_cannot_be_told_is_refused(case):
    assert frames_of(to_bytes(UNKNOWN[case]())) is Reason.MOSAIC


def test_a_mosaic_without_geometry_is_refused_for_that():
    assert frames_of(to_bytes(oblique(ImagePositionPatient=None))) is Reason.NO_GEOMETRY


def test_an_ordinary_siemens_image_is_no_mosaic():
    assert len(frames_of(mr_bytes(ImageType=["ORIGINAL", "PRIMARY", "M", "ND"]))) == 1


@pytest.mark.real_data
def test_a_real_mosaic_is_that_of_nibabel(real_data):
    """Positions of slices and sums of their pixels as nibabel 5.3 gives them (nicom.dicomwrappers)."""
    (path,) = (real_data / "dicom_edge_cases" / "mr_siemens_mosaic").iterdir()
    headers = frames_of(path.read_bytes())
    assert [header.frame for header in headers] == list(range(60))
    assert {(header.rows, header.columns) for header in headers} == {(90, 90)}
    for k, z in ((0, -64.0736084), (1, -61.67360842), (30, 7.92639083), (59, 77.52639008)):
        assert np.allclose(headers[k].position, (-110.1791811, -116.6222806, z), atol=1e-6)
    sums = [int(image.sum(dtype=int)) for image in pixels_of(path.read_bytes(), (0, 1, 30, 59), (90, 90))]
    assert sums == [6007352, 7374295, 26537117, 12214428]
