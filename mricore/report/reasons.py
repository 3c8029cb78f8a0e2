"""Why things were left out, in words for the report."""

from __future__ import annotations

from mricore.records import Reason

SENTENCES: dict[str, str] = {
    Reason.NOT_DICOM: "not a DICOM file",
    Reason.UNREADABLE_HEADER: "header damaged",
    Reason.NOT_MR: "not an MR image",
    Reason.NO_PIXELS: "no image in it",
    Reason.NO_GEOMETRY: "no position or orientation in the patient",
    Reason.MULTIFRAME: "several frames in one object (not yet split)",
    Reason.MOSAIC: "mosaic of slices",
    Reason.NOT_GRAYSCALE: "colour image",
    Reason.BIT_DEPTH: "more than 16 bits",
    Reason.BURNED_IN_ANNOTATION: "text burned into the image",
    Reason.LOCALIZER: "localizer",
    Reason.DERIVED: "computed from other images",
    Reason.PHANTOM: "test object, not a patient",
    Reason.TOO_SMALL: "image too small",
    Reason.FACIAL_ANATOMY: "anatomy that may show a face",
    Reason.UNKNOWN_ANATOMY: "anatomy unknown, so a face is possible",
    Reason.DUPLICATE_FILE: "copy of another file",
    Reason.OTHER_EXAM_OF_PATIENT: "another exam of the same patient was drawn",
    Reason.OVER_PROTOCOL_LIMIT: "enough exams of this protocol",
    Reason.TOO_FEW_SLICES: "too few slices for a volume",
    Reason.DUPLICATE_POSITION: "several slices at one position, not separable",
    Reason.GAP: "slices missing between others",
    Reason.UNREADABLE_PIXELS: "pixels cannot be decoded",
    Reason.EMPTY_IMAGE: "no contrast in the image",
}
