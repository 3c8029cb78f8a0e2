"""The shapes of data that travel between layers: reject reasons, categories and de-identified slices.

Nothing in this module may ever hold an identifier of a patient: ids are keyed pseudonyms, categories
come from closed lists, and numbers are physics.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint16] | NDArray[np.int16]
"""One slice of stored integers, shape (rows, columns), native bit depth (at most 16)."""

Level = Literal["file", "image", "series", "volume", "exam"]
"""What a reason leaves out. An image is one slice of a file: files of one image are the rule, not the law."""


class Reason(StrEnum):
    """Why something was left out of a curated dataset. Documented one by one in docs/reject-reasons.md."""

    NOT_DICOM = "not_dicom"
    UNREADABLE_HEADER = "unreadable_header"
    NOT_MR = "not_mr"
    NO_PIXELS = "no_pixels"
    NO_GEOMETRY = "no_geometry"
    MOSAIC = "mosaic"
    NOT_GRAYSCALE = "not_grayscale"
    BIT_DEPTH = "bit_depth"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    SCREENSHOT = "screenshot"
    LOCALIZER = "localizer"
    DERIVED = "derived"
    PHANTOM = "phantom"
    TOO_SMALL = "too_small"
    FACIAL_ANATOMY = "facial_anatomy"
    UNKNOWN_ANATOMY = "unknown_anatomy"
    EXCLUDED_WORDS = "excluded_words"
    NOT_IN_EXAM_TABLE = "not_in_exam_table"
    PROTOCOL_NOT_WANTED = "protocol_not_wanted"
    DUPLICATE_IMAGE = "duplicate_image"
    OTHER_EXAM_OF_PATIENT = "other_exam_of_patient"
    OVER_PROTOCOL_LIMIT = "over_protocol_limit"
    TOO_FEW_SLICES = "too_few_slices"
    DUPLICATE_POSITION = "duplicate_position"
    GAP = "gap"
    UNREADABLE_PIXELS = "unreadable_pixels"
    EMPTY_IMAGE = "empty_image"
    CHANGED_VOLUME = "changed_volume"
    REPEATED_VOLUME = "repeated_volume"
    NEAR_DUPLICATE = "near_duplicate"
    JUDGED_PATIENT = "judged_patient"
    UNUSABLE_CASE = "unusable_case"


@dataclass(frozen=True)
class Intensity:
    """Statistics of real intensities (slope * stored + intercept) of one slice or one volume."""

    minimum: float
    maximum: float
    p0_5: float
    p99_5: float


@dataclass(frozen=True)
class SliceRecord:
    """One de-identified slice as stored in a shard.

    ``pixels`` are the stored integers, shape (rows, columns), with MONOCHROME1 already inverted;
    real intensity = slope * pixels + intercept. Spacings are in mm, times in ms, field in tesla.
    Missing numbers are NaN; missing categories are "unknown". An evidence names the attribute that decided,
    never what it says.
    """

    slice_id: str
    volume_id: str
    exam_id: str
    patient_id: str
    index: int
    slices_in_volume: int
    pixels: Pixels
    slope: float
    intercept: float
    spacing_row: float
    spacing_column: float
    spacing_slice: float
    slice_intensity: Intensity
    volume_intensity: Intensity
    location: str
    location_evidence: str
    sequence: str
    sequence_evidence: str
    plane: str
    vendor: str
    vendor_evidence: str
    field_strength: float
    repetition_time: float
    echo_time: float
    inversion_time: float
    flip_angle: float
    b_value: float
