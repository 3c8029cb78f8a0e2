"""Scan a phantom: a grid in the patient, tissue at each voxel, and the image a scanner would make of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mricore.imaging.phantoms.anatomy import labels_at
from mricore.imaging.phantoms.shapes import Points
from mricore.imaging.phantoms.tissues import Timing, signals

Array = NDArray[np.float32]
AXES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
}
"""Direction of a row and of a column, in the patient's coordinates."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels are: directions (3,), spacings in mm, first voxel's centre in mm."""

    row_direction: Array
    column_direction: Array
    origin: Array
    pixel: float
    gap: float
    shape: tuple[int, int, int]

    @property
    def normal(self) -> Array:
        """Direction of the stack."""
        return np.cross(self.row_direction, self.column_direction).astype(np.float32)

    def slice_position(self, index: int) -> Array:
        """Centre of the first voxel of a slice, in mm."""
        return self.origin + self.normal * np.float32(self.gap * index)

    def points(self) -> Points:
        """Centres of all voxels, (3, slices, rows, columns)."""
        slices, rows, columns = (np.arange(n, dtype=np.float32) for n in self.shape)
        directions = np.stack([self.normal, self.column_direction, self.row_direction], axis=1)
        along = np.meshgrid(slices * self.gap, rows * self.pixel, columns * self.pixel, indexing="ij")
        offsets = np.tensordot(directions.astype(np.float32), np.stack(along).astype(np.float32), axes=1)
        return (self.origin[:, None, None, None] + offsets).astype(np.float32)


def centered_grid(
    plane: str, shape: tuple[int, int, int], field_of_view: float, thickness: float, tilt: Array
) -> Grid:
    """A stack of ``shape`` (slices, rows, columns) about the origin.

    ``field_of_view`` is the longer side in mm, ``thickness`` the distance of slices, ``tilt`` (3,) a
    rotation vector in radians that makes the stack oblique.
    """
    rotation = _rotation(tilt)
    row, column = (rotation @ np.asarray(axis, np.float32) for axis in AXES[plane])
    pixel = field_of_view / max(shape[1:])
    extent = (shape[2] - 1) * pixel * row + (shape[1] - 1) * pixel * column
    extent = extent + (shape[0] - 1) * thickness * np.cross(row, column)
    return Grid(row, column, (-extent / 2).astype(np.float32), pixel, thickness, shape)


def phantom_volume(
    location: str, person: int, grid: Grid, timings: tuple[Timing, ...], field_strength: float, seed: int
) -> tuple[Array, NDArray[np.uint8]]:
    """Image (echoes, slices, rows, columns), about 0..1, and tissue labels (slices, rows, columns).

    ``person`` fixes the anatomy, ``seed`` coil, texture and noise. The image has partial volume, smooth
    coil shading, texture and Rician noise.
    """
    rng = np.random.default_rng(seed)
    labels = labels_at(grid.points(), location, person)
    shading = _shading(grid.shape, rng)
    texture = 1 + 0.05 * _blurred(rng.normal(0, 1, grid.shape).astype(np.float32)) * 2
    echoes = []
    for timing in timings:
        ideal = _blurred(signals(timing, field_strength)[labels] * texture) * shading
        scale = max(float(np.percentile(ideal, 99.5)), 1e-6)
        noise = rng.normal(0, 0.018 * scale, (2, *grid.shape)).astype(np.float32)
        echoes.append(np.hypot(ideal + noise[0], noise[1]))
    image = np.stack(echoes)
    return (image / np.percentile(image[0], 99.8)).astype(np.float32), labels


def _blurred(volume: Array) -> Array:
    """The scanner's point spread in the plane: (1 2 1) / 4 along rows and columns."""
    for axis in (-2, -1):
        volume = volume * 0.5 + (np.roll(volume, 1, axis) + np.roll(volume, -1, axis)) * 0.25
    return volume.astype(np.float32)


def _shading(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """Smooth sensitivity of the coil, between about 0.6 and 1.4."""
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    a, b, c, d, e = rng.uniform(-0.25, 0.25, 5)
    return np.exp(a * x + b * y + c * z * 0.5 + d * x * y + e * (x * x - y * y)).astype(np.float32)


def _rotation(vector: Array) -> Array:
    """Rotation matrix of a rotation vector (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return np.eye(3, dtype=np.float32)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
