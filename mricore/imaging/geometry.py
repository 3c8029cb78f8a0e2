"""Where slices lie in the patient (DICOM's coordinates: x to the left, y to the back, z to the head; mm)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OBLIQUE_DEGREES = 35.0
"""A slice belongs to a plane if its normal is nearer than this to the plane's axis."""
PLANES = ("sagittal", "coronal", "axial")


def normal(orientation: tuple[float, ...]) -> NDArray[np.float64]:
    """Unit normal (3,) of a slice from the directions of its rows and columns (6,)."""
    vector = np.cross(orientation[:3], orientation[3:])
    return vector / np.linalg.norm(vector)


def plane(orientation: tuple[float, ...]) -> str:
    """ "axial", "sagittal", "coronal", or "oblique" between them."""
    cosines = np.abs(normal(orientation))
    nearest = int(cosines.argmax())
    return PLANES[nearest] if cosines[nearest] >= np.cos(np.radians(OBLIQUE_DEGREES)) else "oblique"


def position_along_normal(orientation: tuple[float, ...], position: tuple[float, ...]) -> float:
    """Distance in mm of a slice from the origin along its normal."""
    return float(np.dot(normal(orientation), position))
