"""Why a DICOM object holds no greyscale MR images with geometry."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from mricore.imaging.attributes import integer, text, words
from mricore.imaging.elements import Elements
from mricore.imaging.files import DicomFile
from mricore.imaging.pixel_format import ALLOCATED_BITS, is_gray
from mricore.records import Reason

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = f"{MR_IMAGE}.1"
ENHANCED_MR_COLOR = f"{MR_IMAGE}.3"
LEGACY_CONVERTED_MR = f"{MR_IMAGE}.4"
_CLASSES = {MR_IMAGE, ENHANCED_MR, ENHANCED_MR_COLOR, LEGACY_CONVERTED_MR}
_CONVERTED = {"DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN"}
"""ConversionType of what no scanner wrote: video, film, workstation, scanned paper, drawings, synthetic."""
_SCREEN = {"SCREEN", "SCREENSHOT", "SCREENSAVE"}
_FARTHEST = 1e5
_WIDEST = 1e3


def refusal(file: DicomFile) -> Reason | None:
    """The first reason against an object as a whole; None if it holds greyscale MR images."""
    header = file.header
    sop_class = text(header, "SOPClassUID") or text(file.meta, "MediaStorageSOPClassUID")
    if not sop_class:
        return Reason.UNREADABLE_HEADER
    checks = (
        (text(header, "Modality").upper() not in ("MR", ""), Reason.NOT_MR),
        (sop_class not in _CLASSES, Reason.NOT_MR),
        (sop_class == ENHANCED_MR_COLOR, Reason.NOT_GRAYSCALE),
        (file.pixels is None or not _has_matrix(header), Reason.NO_PIXELS),
        (not is_gray(header), Reason.NOT_GRAYSCALE),
        (integer(header, "BitsAllocated") not in ALLOCATED_BITS, Reason.BIT_DEPTH),
        (text(header, "BurnedInAnnotation").upper() == "YES", Reason.BURNED_IN_ANNOTATION),
        (_is_screenshot(header), Reason.SCREENSHOT),
    )
    return next((reason for refused, reason in checks if refused), None)


def has_geometry(orientation: Sequence[float], position: Sequence[float], spacing: Sequence[float]) -> bool:
    """Whether the place of an image in the patient is told, and possible."""
    if (len(orientation), len(position), len(spacing)) != (6, 3, 2):
        return False
    row, column = orientation[:3], orientation[3:]
    cosine = sum(a * b for a, b in zip(row, column, strict=True))
    orthonormal = (
        abs(math.hypot(*row) - 1) < 0.01 and abs(math.hypot(*column) - 1) < 0.01 and abs(cosine) < 0.01
    )
    return orthonormal and math.hypot(*position) < _FARTHEST and 0 < min(spacing) <= max(spacing) < _WIDEST


def _has_matrix(header: Elements) -> bool:
    return (integer(header, "Rows") or 0) > 0 and (integer(header, "Columns") or 0) > 0


def _is_screenshot(header: Elements) -> bool:
    """Whether the object is a picture of images, which may show a patient's name."""
    kinds = re.findall("[A-Z]+", " ".join(words(header, "ImageType")))
    return text(header, "ConversionType").upper() in _CONVERTED or not _SCREEN.isdisjoint(kinds)
