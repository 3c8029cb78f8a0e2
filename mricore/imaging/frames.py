"""One MR image as curation knows it after its header was read: pseudonyms, closed categories, physics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """One image of a file. Lengths in mm, times in ms, field in tesla; NaN or None if missing.

    ``file`` counts the files that were read together, ``frame`` the images of that file. ``reason`` says
    why the image is left out whatever becomes of its series; empty if it is not. ``protocol`` is a name
    of the policy, else a pseudonym. The keys are of accession number, study and series UID
    alone, without the patient; the first two find the exam in a table of exams. ``orientation`` is the
    direction of a row, then of a column; ``spacing`` is between rows, then between columns. ``component``
    tells the parts of one acquisition apart (magnitude and phase, water and fat), ``stack`` the stacks of
    one file. ``padding`` is the inclusive range of stored integers that are no signal (two numbers, or
    none).
    """

    file: int
    frame: int
    slice_id: str
    series_id: str
    exam_id: str
    patient_id: str
    accession_key: str
    study_key: str
    series_key: str
    protocol: str
    reason: str
    location: str
    location_evidence: str
    sequence: str
    sequence_evidence: str
    vendor: str
    vendor_evidence: str
    field_strength: float
    repetition_time: float
    echo_time: float
    inversion_time: float
    flip_angle: float
    b_value: float
    component: str
    stack: str
    echo_number: int | None
    temporal_position: int | None
    trigger_time: float
    acquisition_number: int | None
    instance_number: int | None
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, ...]
    rows: int
    columns: int
    slope: float
    intercept: float
    padding: tuple[int, ...]
