"""Why things were left out and what to do about it, in words; docs/reject-reasons.md says more."""

from __future__ import annotations

from dataclasses import dataclass

from mricore.records import Reason


@dataclass(frozen=True)
class Explanation:
    """What a reason means, as a phrase, and what to do about it, as a sentence."""

    meaning: str
    remedy: str


EXPLANATIONS: dict[str, Explanation] = {
    Reason.NOT_DICOM: Explanation(
        "not a DICOM file", "Nothing, for readmes and thumbnails; else export again."
    ),
    Reason.UNREADABLE_HEADER: Explanation("header damaged", "Export or copy the file again."),
    Reason.NOT_MR: Explanation("not an MR image", "Nothing; narrow the export if there are many."),
    Reason.NO_PIXELS: Explanation(
        "no image in it", "Export again; compare the file's size with the archive's."
    ),
    Reason.NO_GEOMETRY: Explanation(
        "no position or orientation in the patient",
        "Export the originals; a tool for de-identification or conversion may have removed them.",
    ),
    Reason.MOSAIC: Explanation(
        "mosaic whose tiles cannot be told", "Export images that are not mosaics, or with private attributes."
    ),
    Reason.NOT_GRAYSCALE: Explanation("colour image", "Nothing; the original series is usually there too."),
    Reason.BIT_DEPTH: Explanation(
        "not stored in 8 or 16 bits", "Export with 16 bits; maps of decimal numbers do not belong here."
    ),
    Reason.BURNED_IN_ANNOTATION: Explanation(
        "text burned into the image", "Nothing, or export the images without annotation."
    ),
    Reason.SCREENSHOT: Explanation("screenshot of a workstation", "Nothing; the original series counts."),
    Reason.LOCALIZER: Explanation(
        "localizer or calibration scan", "Nothing: it serves the scan, not the diagnosis."
    ),
    Reason.DERIVED: Explanation("computed from other images", "Nothing; the source images count."),
    Reason.PHANTOM: Explanation(
        "test object, not a patient", "Nothing, or correct the description if it was a person."
    ),
    Reason.TOO_SMALL: Explanation(
        "too few rows or columns", "Lower curation.min_pixels if small images are wanted."
    ),
    Reason.FACIAL_ANATOMY: Explanation(
        "anatomy that may show a face", "Change curation.exclude_locations only if ethics and law allow it."
    ),
    Reason.UNKNOWN_ANATOMY: Explanation(
        "anatomy unknown, so a face is possible",
        "Fill in BodyPartExamined, or set curation.unknown_location=include if no face can be in the source.",
    ),
    Reason.EXCLUDED_WORDS: Explanation(
        "description with a word that the policy leaves out", "Nothing, or change curation.exclude_words."
    ),
    Reason.NOT_IN_EXAM_TABLE: Explanation(
        "not in the table of exams",
        "Add the exam to the table; if nearly all are missing, check its column of identifiers.",
    ),
    Reason.PROTOCOL_NOT_WANTED: Explanation(
        "no protocol of the policy fits", "Add a block or a phrase to curation.protocols."
    ),
    Reason.DUPLICATE_IMAGE: Explanation("copy of another image", "Nothing: one copy is kept."),
    Reason.OTHER_EXAM_OF_PATIENT: Explanation(
        "another exam of the same patient was drawn", "Set curation.one_exam_per_patient=false to keep all."
    ),
    Reason.OVER_PROTOCOL_LIMIT: Explanation(
        "enough exams of this protocol", "Raise curation.exams_per_protocol to keep more."
    ),
    Reason.TOO_FEW_SLICES: Explanation(
        "too few slices for a volume", "Lower curation.min_slices, or complete the export."
    ),
    Reason.DUPLICATE_POSITION: Explanation(
        "several slices at one position, not separable, or a part of a repeat",
        "Complete the export; an aborted pass stays out.",
    ),
    Reason.GAP: Explanation(
        "slices missing between others", "Complete the export, or raise curation.spacing_tolerance."
    ),
    Reason.UNREADABLE_PIXELS: Explanation(
        "pixels cannot be decoded", "Export or transfer again, uncompressed if need be."
    ),
    Reason.EMPTY_IMAGE: Explanation("no contrast in the image", "Nothing: it holds no signal."),
    Reason.CHANGED_VOLUME: Explanation(
        "slices changed since the volume was taken up",
        "Nothing: it stays as it was; curate into a new destination to take it anew.",
    ),
    Reason.REPEATED_VOLUME: Explanation(
        "pixels of a volume that is there already", "Nothing, or set curation.repeated_volumes=keep."
    ),
    Reason.NEAR_DUPLICATE: Explanation(
        "looks almost like another volume", "Set curation.near_duplicates=keep to keep all."
    ),
    Reason.JUDGED_PATIENT: Explanation(
        "of a patient of a labelled task who is judged", "Nothing: encoders must not see them."
    ),
    Reason.UNUSABLE_CASE: Explanation(
        "labelled task that leaves out the case, so that its part is unknown",
        "See why with any script of eval/ (docs/tasks.md), and repair the case.",
    ),
}
