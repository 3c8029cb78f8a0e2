"""A collection of phantoms as a PACS would export it: patients, studies, series, vendors, some misfits."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mricore.imaging.phantoms.dicom import VENDORS, SeriesHeader, Vendor, write_series
from mricore.imaging.phantoms.tissues import Timing
from mricore.imaging.phantoms.volume import Grid, centered_grid, phantom_volume
from mricore.records import Reason


@dataclass(frozen=True)
class CollectionSpec:
    """Size of a collection; the same spec gives the same bytes.

    ``matrix`` is the usual number of rows and columns, ``slices`` the usual number of slices of a series.
    One more patient than ``patients`` is written: a head, which curation leaves out.
    """

    patients: int = 12
    seed: int = 0
    matrix: int = 160
    slices: int = 12


@dataclass(frozen=True)
class PhantomSeries:
    """What was written: ``path`` is relative to the collection, ``expected`` "kept" or a reject reason."""

    path: str
    location: str
    sequence: str
    plane: str
    vendor: str
    files: int
    expected: str


@dataclass(frozen=True)
class _Scan:
    """A line of a protocol."""

    sequence: str
    plane: str
    timings: tuple[Timing, ...]


_T1 = (Timing(550, 11),)
_T2 = (Timing(4200, 95),)
_PD = (Timing(2600, 28),)
_STIR_15, _STIR_3 = (Timing(4500, 50, 165),), (Timing(4500, 50, 205),)
_ECHOES = tuple(Timing(2400, echo) for echo in (12.0, 36.0, 72.0))
_PROTOCOLS: dict[str, tuple[_Scan, ...]] = {
    "knee": (
        _Scan("PD", "sagittal", _PD),
        _Scan("T1", "coronal", _T1),
        _Scan("STIR", "coronal", _STIR_15),
        _Scan("T2", "axial", _T2),
    ),
    "lumbar_spine": (_Scan("T2", "sagittal", _T2), _Scan("T1", "sagittal", _T1), _Scan("T2", "axial", _T2)),
    "abdomen": (_Scan("T2", "axial", _T2), _Scan("T1", "axial", _T1), _Scan("T2", "coronal", _T2)),
    "thigh": (
        _Scan("T1", "axial", _T1),
        _Scan("STIR", "axial", _STIR_15),
        _Scan("multi-echo", "axial", _ECHOES),
    ),
    "head": (_Scan("T1", "sagittal", _T1), _Scan("T2", "axial", _T2)),
}
_EXTENT = {"knee": 155, "lumbar_spine": 300, "abdomen": 370, "thigh": 200, "head": 230}
_THICKNESS = {"knee": 5.5, "lumbar_spine": 6.0, "abdomen": 9.0, "thigh": 8.0, "head": 7.0}
_NAMES = {
    "knee": ("KNEE", "MR KNEE LEFT WO CONTRAST", "Knee 8ch"),
    "lumbar_spine": ("LSPINE", "MR LUMBAR SPINE WO CONTRAST", "Spine Matrix"),
    "abdomen": ("ABDOMEN", "MR ABDOMEN W WO CONTRAST", "Body Matrix"),
    "thigh": ("", "", "Femur flex"),  # only the coil tells, as in some real archives
    "head": ("", "MR BRAIN WO CONTRAST", "Head 32"),
}
_LOCATIONS = ("knee", "lumbar_spine", "abdomen", "thigh")


def write_collection(
    folder: Path, spec: CollectionSpec = CollectionSpec(), progress: Callable[[int, int], None] | None = None
) -> list[PhantomSeries]:
    """Write the collection; ``folder`` appears when it is complete. Calls ``progress(done, patients)``."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    written: list[PhantomSeries] = []
    try:
        for patient in range(spec.patients + 1):
            location = "head" if patient == spec.patients else _LOCATIONS[patient % len(_LOCATIONS)]
            written += _write_patient(temporary, patient, location, spec)
            if progress:
                progress(patient + 1, spec.patients + 1)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return written


def _write_patient(root: Path, patient: int, location: str, spec: CollectionSpec) -> list[PhantomSeries]:
    """One study: a localizer and the protocol of its location."""
    rng = np.random.default_rng((spec.seed, patient))
    vendor = VENDORS[(patient // len(_LOCATIONS) + patient) % len(VENDORS)]
    field_strength = (1.5, 3.0)[int(rng.integers(2))]
    scans = [_Scan("localizer", "axial", _T1), *_PROTOCOLS[location]]
    written = []
    for number, scan in enumerate(scans, start=1):
        header = _header(patient, location, number, scan, vendor, field_strength, spec)
        path = f"DICOM/P{patient:04d}/ST0001/SE{number:04d}"
        files = _write_scan(root / path, header, scan, location, spec, rng, field_strength)
        expected = str(Reason.FACIAL_ANATOMY) if location == "head" else "kept"
        if scan.sequence == "localizer":
            expected = str(Reason.LOCALIZER)
        written.append(
            PhantomSeries(path, location, scan.sequence, scan.plane, vendor.manufacturer, files, expected)
        )
    return written


def _write_scan(
    folder: Path,
    header: SeriesHeader,
    scan: _Scan,
    location: str,
    spec: CollectionSpec,
    rng: np.random.Generator,
    field_strength: float,
) -> int:
    timings = _STIR_3 if scan.timings == _STIR_15 and field_strength > 2 else scan.timings
    person = hash_seed(spec.seed, header.patient)
    grid = _grid(scan, location, spec, rng)
    image, _ = phantom_volume(location, person, grid, timings, field_strength, int(rng.integers(1 << 31)))
    return write_series(folder, header, grid, timings, image)


def hash_seed(seed: int, patient: str) -> int:
    """The seed of a person's anatomy."""
    return int(np.random.SeedSequence([seed, *patient.encode()]).generate_state(1)[0])


def _grid(scan: _Scan, location: str, spec: CollectionSpec, rng: np.random.Generator) -> Grid:
    rows, columns = (int(spec.matrix * rng.choice([0.8, 0.9, 1.0, 1.0, 1.2])) // 2 * 2 for _ in range(2))
    slices = 3 if scan.sequence == "localizer" else spec.slices + int(rng.integers(-2, 4))
    if len(scan.timings) > 1:
        slices = max(6, slices // 2)  # several echoes at each position
    tilt = rng.normal(0, 0.05, 3).astype(np.float32)
    extent = _EXTENT[location] * rng.uniform(0.95, 1.1)
    return centered_grid(scan.plane, (slices, rows, columns), extent, _THICKNESS[location], tilt)


def _header(
    patient: int, location: str, number: int, scan: _Scan, vendor: Vendor, field: float, spec: CollectionSpec
) -> SeriesHeader:
    body_part, study, coil = _NAMES[location]
    # every third patient has no BodyPartExamined, as happens in the world
    body_part = "" if patient % 3 == 2 else body_part
    localizer = scan.sequence == "localizer"
    words = "localizer" if localizer else f"{scan.sequence.lower()}_se_{scan.plane[:3]}"
    if len(scan.timings) > 1:
        words = "me_se"
    root = f"mricore-phantom/{spec.seed}/{patient}"
    return SeriesHeader(
        patient=f"PHANTOM-{patient:03d}",
        name=f"Phantom^{location.capitalize()}{patient:02d}",
        study=root,
        series=f"{root}/{number}",
        number=number,
        body_part=body_part,
        study_description=study,
        description=words,
        coil=coil,
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER") if localizer else ("ORIGINAL", "PRIMARY", "M"),
        vendor=vendor,
        field_strength=field,
        compressed=number == 3 and patient % 4 == 0,
        implicit=number == 2 and patient % 4 == 1,
    )
