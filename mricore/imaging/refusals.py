"""Why a DICOM object is not a single-frame greyscale MR slice with geometry."""

from __future__ import annotations

import math

from pydicom.dataset import Dataset, FileDataset

from mricore.imaging.attributes import integer, numbers, private_number, text, words
from mricore.records import Reason

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = {f"{MR_IMAGE}.1", f"{MR_IMAGE}.3", f"{MR_IMAGE}.4"}
"""Enhanced MR, Enhanced MR Color and Legacy Converted Enhanced MR."""
ALLOCATED_BITS = (8, 16)


def refusal(dataset: FileDataset, has_pixels: bool) -> Reason | None:
    """The first reason against an object; None if it is a slice that can be curated."""
    sop_class = text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")
    if not sop_class:
        return Reason.UNREADABLE_HEADER
    checks = (
        (text(dataset, "Modality").upper() not in ("MR", ""), Reason.NOT_MR),
        (sop_class not in {MR_IMAGE, *ENHANCED_MR}, Reason.NOT_MR),
        (sop_class in ENHANCED_MR or (integer(dataset, "NumberOfFrames") or 1) > 1, Reason.MULTIFRAME),
        (_is_mosaic(dataset), Reason.MOSAIC),
        (not has_pixels or not _has_matrix(dataset), Reason.NO_PIXELS),
        (not _is_gray(dataset), Reason.NOT_GRAYSCALE),
        (integer(dataset, "BitsAllocated") not in ALLOCATED_BITS, Reason.BIT_DEPTH),
        (text(dataset, "BurnedInAnnotation").upper() == "YES", Reason.BURNED_IN_ANNOTATION),
        (not _has_geometry(dataset), Reason.NO_GEOMETRY),
    )
    return next((reason for refused, reason in checks if refused), None)


def _is_mosaic(dataset: Dataset) -> bool:
    """Whether Siemens tiled a whole volume into one image; the private attribute counts the tiles."""
    return "MOSAIC" in words(dataset, "ImageType") or (
        private_number(dataset, 0x0019, "SIEMENS MR HEADER", 0x0A) > 1
    )


def _has_matrix(dataset: Dataset) -> bool:
    return (integer(dataset, "Rows") or 0) > 0 and (integer(dataset, "Columns") or 0) > 0


def _is_gray(dataset: Dataset) -> bool:
    photometric = text(dataset, "PhotometricInterpretation")
    return (integer(dataset, "SamplesPerPixel") or 1) == 1 and photometric in ("MONOCHROME1", "MONOCHROME2")


def _has_geometry(dataset: Dataset) -> bool:
    orientation = numbers(dataset, "ImageOrientationPatient")
    spacing = numbers(dataset, "PixelSpacing")
    if (len(orientation), len(numbers(dataset, "ImagePositionPatient")), len(spacing)) != (6, 3, 2):
        return False
    row, column = orientation[:3], orientation[3:]
    cosine = sum(a * b for a, b in zip(row, column, strict=True))
    orthonormal = (
        abs(math.hypot(*row) - 1) < 0.01 and abs(math.hypot(*column) - 1) < 0.01 and abs(cosine) < 0.01
    )
    return orthonormal and min(spacing) > 0
