"""Where slices lie in the patient (DICOM's coordinates: x to the left, y to the back, z to the head; mm)."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = tuple[float, float, float]

OBLIQUE_DEGREES = 35.0
"""A slice belongs to a plane if its normal is nearer than this to the plane's axis."""
UNKNOWN = "unknown"
PLANES = ("sagittal", "coronal", "axial")


def normal(orientation: Sequence[float]) -> Vector:
    """Unit normal of a slice from the directions of its rows and columns (6 cosines)."""
    a, b, c, d, e, f = orientation
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.hypot(x, y, z)
    return x / length, y / length, z / length


def plane(orientation: Sequence[float]) -> str:
    """``axial``, ``sagittal``, ``coronal``, ``oblique`` between them, ``unknown`` without orientation."""
    if not orientation:
        return UNKNOWN
    cosines = [abs(value) for value in normal(orientation)]
    nearest = max(range(3), key=cosines.__getitem__)
    return PLANES[nearest] if cosines[nearest] >= math.cos(math.radians(OBLIQUE_DEGREES)) else "oblique"


def distance_along(direction: Sequence[float], position: Sequence[float]) -> float:
    """Distance in mm of a position (3,) from the origin along a unit vector."""
    return sum(a * b for a, b in zip(direction, position, strict=True))
