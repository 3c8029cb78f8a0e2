"""Geometry: planes, normals and distances in the patient's coordinates."""

import math
from dataclasses import replace

import numpy as np
import pytest
from dicom_files import AXIAL, CORONAL, SAGITTAL, mr_header

from mricore.imaging.geometry import OBLIQUE_DEGREES, distance_along, normal, plane


def place_of(header):
    """Distance in mm of a slice from the origin along its own normal."""
    return distance_along(normal(header.orientation), header.position)


HEADER = mr_header()
NAMES = {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL}


def turned(orientation, axis, degrees):
    """Directions of rows and columns after a rotation about one of the patient's axes."""
    angle = math.radians(degrees)
    first, second = (k for k in range(3) if k != axis)
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = math.cos(angle)
    rotation[first, second], rotation[second, first] = -math.sin(angle), math.sin(angle)
    row, column = np.reshape(orientation, (2, 3)).astype(float)
    return (*(rotation @ row), *(rotation @ column))


@pytest.mark.parametrize("name", NAMES)
def test_the_three_planes_are_named(name):
    assert plane(NAMES[name]) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_stack_has_the_same_plane(name):
    row, column = NAMES[name][:3], NAMES[name][3:]
    assert plane((*column, *row)) == name
    assert plane((*(-value for value in row), *column)) == name


@pytest.mark.parametrize("axis", [0, 1])
def test_a_slice_turned_too_far_is_oblique(axis):
    assert plane(turned(AXIAL, axis, OBLIQUE_DEGREES - 1)) == "axial"
    assert plane(turned(AXIAL, axis, OBLIQUE_DEGREES + 1)) == "oblique"
    assert plane(turned(AXIAL, axis, 45)) == "oblique"
    assert plane(turned(AXIAL, axis, 90 - OBLIQUE_DEGREES + 1)) == ("coronal", "sagittal")[axis]


def test_turning_in_the_plane_changes_nothing():
    assert plane(turned(AXIAL, 2, 40)) == "axial"


def test_the_normal_is_a_unit_vector_at_right_angles_to_the_slice():
    rng = np.random.default_rng(0)
    for _ in range(50):
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0].T[:2]
        found = normal(axes.ravel())
        assert np.allclose(found, np.cross(*axes))
        assert math.hypot(*found) == pytest.approx(1)


def test_cosines_that_are_not_quite_of_length_one_still_give_a_unit_normal():
    assert normal((1.009, 0, 0, 0, 0.995, 0)) == (0, 0, 1)


def test_the_position_of_a_slice_is_its_distance_along_its_normal():
    axial = replace(HEADER, orientation=AXIAL, position=(7.0, -9.0, 12.5))
    assert place_of(axial) == 12.5
    assert place_of(replace(axial, orientation=CORONAL)) == -9.0
    assert place_of(replace(axial, orientation=SAGITTAL)) == -7.0


def test_a_shift_inside_the_plane_does_not_move_a_slice():
    tilted = turned(AXIAL, 0, 20)
    row = np.array(tilted[:3])
    here = replace(HEADER, orientation=tilted, position=(1.0, 2.0, 3.0))
    there = replace(here, position=tuple(np.array(here.position) + 25 * row))
    assert place_of(there) == pytest.approx(place_of(here))


def test_distance_needs_three_coordinates():
    with pytest.raises(ValueError, match="argument"):
        distance_along((0.0, 0.0, 1.0), (1.0, 2.0))


@pytest.mark.parametrize(
    ("degrees", "name"), [(34, "axial"), (36, "oblique"), (54, "oblique"), (56, "coronal")]
)
def test_a_plane_ends_at_35_degrees(degrees, name):
    tilt = math.radians(degrees)
    assert plane((1, 0, 0, 0, math.cos(tilt), math.sin(tilt))) == name
