"""Solid shapes in patient coordinates (x to the left, y to the back, z to the head; mm).

A shape maps points (3, ...) to a field that is positive inside, zero on the surface and roughly the depth
in mm near it, so that ``field > -2`` is the shape with a 2 mm rim.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float32]
Field = NDArray[np.float32]
Shape = Callable[[Points], Field]


def ellipsoid(center: ArrayLike, radii: ArrayLike, power: float = 2.0) -> Shape:
    """An ellipsoid; ``power`` above 2 makes it boxy, as vertebral bodies are."""
    middle, extent = np.asarray(center, np.float32), np.asarray(radii, np.float32)
    depth = extent.min()

    def field(points: Points) -> Field:
        parts = [(axis - at) / radius for axis, at, radius in zip(points, middle, extent, strict=True)]
        if power == 2.0:
            return depth * (1 - np.sqrt(sum(part * part for part in parts)))
        return depth * (1 - sum(np.abs(part) ** np.float32(power) for part in parts) ** np.float32(1 / power))

    return field


def tube(
    start: ArrayLike, end: ArrayLike, start_radius: float, end_radius: float, flat: float = 1.0
) -> Shape:
    """A tapered rod with round ends; ``flat`` squeezes it along y."""
    squeeze = np.array([1, 1 / flat, 1], np.float32)
    first = np.asarray(start, np.float32) * squeeze
    axis = np.asarray(end, np.float32) * squeeze - first
    length_squared = np.float32(axis @ axis)

    def field(points: Points) -> Field:
        relative = [part - at for part, at in zip(points, first, strict=True)]
        along = sum(part * step for part, step in zip(relative, axis, strict=True)) / length_squared
        along = np.clip(along, 0, 1)
        squared = sum((part - along * step) ** 2 for part, step in zip(relative, axis, strict=True))
        return np.float32(start_radius) + np.float32(end_radius - start_radius) * along - np.sqrt(squared)

    return field


def union(*shapes: Shape) -> Shape:
    """All points of any of the shapes."""
    return lambda points: np.maximum.reduce([shape(points) for shape in shapes])


def cut(shape: Shape, other: Shape) -> Shape:
    """The points of ``shape`` that are not in ``other``."""
    return lambda points: np.minimum(shape(points), -other(points))


def column(radius_x: float, radius_y: float, taper: float = 0.0) -> Shape:
    """An endless elliptic column along z whose radii grow by ``taper`` per mm; trunk and limbs."""

    def field(points: Points) -> Field:
        growth = 1 + np.float32(taper) * points[2]
        radius = np.sqrt((points[0] / radius_x) ** 2 + (points[1] / radius_y) ** 2)
        return np.float32(min(radius_x, radius_y)) * (growth - radius)

    return field
