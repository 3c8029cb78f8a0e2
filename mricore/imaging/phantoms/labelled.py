"""Phantoms with masks of their organs, as NIfTI: a labelled task for those who have no data at hand."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mricore.imaging.phantoms.tissues import Timing, Tissue
from mricore.imaging.phantoms.volume import Grid, centered_grid, phantom_volume

LOCATION = "abdomen"
STRUCTURES = (Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY)
"""Tissues that masks show, by their numbers; all else is 0."""
CONTRASTS = {"t1": Timing(550, 11), "t2": Timing(4200, 95)}
"""One for each volume, in turns."""
SPEC = "spec.json"
_EXTENT, _THICKNESS = 370.0, 14.0
_ABOVE = 15.0
"""Slices are centred so many mm above the middle of the body, where the three organs lie."""
_STREAM = 7
"""Parts these patients from those that phantoms for pretraining draw with the same seed."""


@dataclass(frozen=True)
class LabelledSpec:
    """Size of the set, a volume of ``slices`` x ``matrix`` x ``matrix`` per patient.

    The same spec gives the same values.
    """

    patients: int = 20
    seed: int = 0
    matrix: int = 96
    slices: int = 8


def write_labelled(
    folder: Path, spec: LabelledSpec = LabelledSpec(), progress: Callable[[int, int], None] | None = None
) -> None:
    """Write ``images/NNN_CONTRAST.nii`` and ``masks/NNN_CONTRAST.nii``; ``folder`` appears when all is there.

    Calls ``progress(done, patients)``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        for part in ("images", "masks"):
            (temporary / part).mkdir(parents=True)
        for patient in range(spec.patients):
            _write_patient(temporary, patient, spec)
            if progress:
                progress(patient + 1, spec.patients)
        (temporary / SPEC).write_text(json.dumps(asdict(spec)) + "\n")
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_patient(folder: Path, patient: int, spec: LabelledSpec) -> None:
    rng = np.random.default_rng((spec.seed, _STREAM, patient))
    person, noise = (int(number) for number in rng.integers(1 << 31, size=2))
    field_strength = float(rng.choice([1.5, 3.0]))
    contrast = list(CONTRASTS)[patient % len(CONTRASTS)]
    grid = _grid(spec, rng)
    image, labels = phantom_volume(LOCATION, person, grid, (CONTRASTS[contrast],), field_strength, noise)
    affine, name = _affine(grid), f"{patient:03d}_{contrast}.nii"
    stored = np.clip(image[0] * 1000, 0, 32767).astype(np.int16)
    _save(folder / "images" / name, stored, affine)
    _save(folder / "masks" / name, np.where(np.isin(labels, STRUCTURES), labels, 0).astype(np.uint8), affine)


def _grid(spec: LabelledSpec, rng: np.random.Generator) -> Grid:
    """An axial stack through the organs, a little oblique."""
    extent = _EXTENT * float(rng.uniform(0.95, 1.1))
    tilt = rng.normal(0, 0.03, 3).astype(np.float32)
    grid = centered_grid("axial", (spec.slices, spec.matrix, spec.matrix), extent, _THICKNESS, tilt)
    raised = grid.origin + np.array([0, 0, _ABOVE], np.float32)
    return Grid(grid.row_direction, grid.column_direction, raised, grid.pixel, grid.gap, grid.shape)


def _affine(grid: Grid) -> NDArray[np.float64]:
    """Indices (column, row, slice) to mm to right, front and head (DICOM has left and back)."""
    affine = np.eye(4)
    affine[:3, 0] = grid.row_direction * grid.pixel
    affine[:3, 1] = grid.column_direction * grid.pixel
    affine[:3, 2] = grid.normal * grid.gap
    affine[:3, 3] = grid.origin
    affine[:2] *= -1
    return affine


def _save(path: Path, volume: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """A volume (slices, rows, columns)."""
    nib.save(nib.Nifti1Image(np.ascontiguousarray(volume.transpose(2, 1, 0)), affine), path)
