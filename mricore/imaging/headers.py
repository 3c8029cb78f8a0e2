"""One DICOM header -> what curation needs of it, or the reason why the file is of no use.

A header holds identifiers. It is therefore never printed: its ``repr`` is empty, and pydicom's own
warnings, which quote values, are silenced while a file is read.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from mricore.config.schema import Curation
from mricore.records import Reason

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = {"1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"}
MAX_DEPTH = 16

UNREADABLE = (
    ValueError,  # includes UnicodeDecodeError and pydicom's BytesLengthException
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    MemoryError,
    OSError,
    EOFError,
    struct.error,
    AssertionError,
    InvalidDicomError,
)
"""What pydicom raises on damaged bytes."""


@dataclass(frozen=True, repr=False)
class FrameHeader:
    """The header of one single-frame MR image. Lengths in mm, times in ms, field in tesla, NaN if missing.

    ``orientation`` is the direction of a row, then of a column; ``spacing`` is between rows, then between
    columns. The free text (descriptions, coil) serves to derive categories and goes nowhere else.
    """

    uri: str
    sop_uid: str
    series_uid: str
    study_uid: str
    patient_key: str
    image_type: tuple[str, ...]
    body_part: str
    study_description: str
    series_description: str
    protocol_name: str
    requested_procedure: str
    coil: str
    manufacturer: str
    model: str
    field_strength: float
    repetition_time: float
    echo_time: float
    inversion_time: float
    flip_angle: float
    b_value: float
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    sequence_name: str
    scan_options: tuple[str, ...]
    echo_number: int | None
    temporal_position: int | None
    acquisition_number: int | None
    instance_number: int | None
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, ...]
    slice_thickness: float
    rows: int
    columns: int
    slope: float
    intercept: float

    def __repr__(self) -> str:
        return "FrameHeader(withheld)"


def read_header(stream: BinaryIO, uri: str) -> FrameHeader | Reason:
    """Read a header without its pixels; never raises for what a file contains."""
    with quiet_pydicom():
        try:
            dataset = pydicom.dcmread(stream, stop_before_pixels=True)
        except InvalidDicomError:
            return Reason.NOT_DICOM
        except UNREADABLE:
            return Reason.UNREADABLE_HEADER
        try:
            return _refusal(dataset) or _frame(dataset, uri)
        except UNREADABLE:
            return Reason.UNREADABLE_HEADER


def frame_reason(header: FrameHeader, policy: Curation) -> Reason | None:
    """Why the policy leaves out an image that could be read, judged by the image alone.

    DERIVED alone does not count, since real de-identified originals say DERIVED\\SECONDARY; it takes a word
    that tells how. Such a word alone does not count either: GE has originals with ORIGINAL\\PRIMARY\\MPR.
    """
    words = {word for value in header.image_type[2:] for word in value.replace("_", " ").split()}
    text = " ".join((header.series_description, header.protocol_name, header.study_description)).upper()
    if "LOCALIZER" in words or any(word in text for word in ("LOCALIZER", "SCOUT", "SURVEY")):
        return Reason.LOCALIZER
    if header.image_type[:1] == ("DERIVED",) and words & DERIVED_WORDS:
        return Reason.DERIVED
    if "PHANTOM" in f"{header.body_part} {text}".upper().split():
        return Reason.PHANTOM
    if min(header.rows, header.columns) < policy.min_pixels:
        return Reason.TOO_SMALL
    return None


PRIVATE_B_VALUES = (
    ("SIEMENS MR HEADER", 0x0019, 0x0C),
    ("GEMS_PARM_01", 0x0043, 0x39),
    ("Philips Imaging DD 001", 0x2001, 0x03),
)
"""Creator, group and element of the vendors' b-values."""

_DERIVED = (
    "MPR MIP MINIP PROJECTION REFORMATTED RESAMPLED SUBTRACTION SUB SUBTRACT ADC FA TRACE TRACEW EADC EXP "
    "COLFA TTP CBF CBV MTT KTRANS PBP RCBV PERFUSION STATISTICS ERROR CSA SCREEN SCREENSHOT"
)
DERIVED_WORDS = frozenset(_DERIVED.split())
"""Words of ImageType that tell how a derived image was computed from others."""


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings and log, which quote the values of a file."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _refusal(dataset: Dataset) -> Reason | None:
    """Why this object is not a single-frame greyscale MR slice with geometry."""
    sop_class = str(dataset.get("SOPClassUID", ""))
    image_type = _words(dataset, "ImageType")
    checks = (
        (_text(dataset, "Modality") != "MR" or sop_class not in {MR_IMAGE, *ENHANCED_MR}, Reason.NOT_MR),
        (sop_class in ENHANCED_MR or (_integer(dataset, "NumberOfFrames") or 1) > 1, Reason.MULTIFRAME),
        ("MOSAIC" in image_type, Reason.MOSAIC),
        (not _integer(dataset, "Rows") or not _integer(dataset, "Columns"), Reason.NO_PIXELS),
        (
            (_integer(dataset, "SamplesPerPixel") or 1) != 1
            or _text(dataset, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"),
            Reason.NOT_GRAYSCALE,
        ),
        (not 1 <= (_integer(dataset, "BitsAllocated") or 0) <= MAX_DEPTH, Reason.BIT_DEPTH),
        (_text(dataset, "BurnedInAnnotation") == "YES", Reason.BURNED_IN_ANNOTATION),
        (not _has_geometry(dataset), Reason.NO_GEOMETRY),
    )
    return next((reason for refused, reason in checks if refused), None)


def _frame(dataset: Dataset, uri: str) -> FrameHeader:
    study = str(dataset.get("StudyInstanceUID", ""))
    slope = _number(dataset, "RescaleSlope")
    intercept = _number(dataset, "RescaleIntercept")
    return FrameHeader(
        uri=uri,
        sop_uid=str(dataset.get("SOPInstanceUID", "")) or uri,
        series_uid=str(dataset.get("SeriesInstanceUID", "")) or study,
        study_uid=study,
        patient_key=_patient(dataset) or study,
        image_type=_words(dataset, "ImageType"),
        body_part=_text(dataset, "BodyPartExamined"),
        study_description=_text(dataset, "StudyDescription"),
        series_description=_text(dataset, "SeriesDescription"),
        protocol_name=_text(dataset, "ProtocolName"),
        requested_procedure=_text(dataset, "RequestedProcedureDescription"),
        coil=_text(dataset, "ReceiveCoilName"),
        manufacturer=_text(dataset, "Manufacturer"),
        model=_text(dataset, "ManufacturerModelName"),
        field_strength=_tesla(_number(dataset, "MagneticFieldStrength")),
        repetition_time=_number(dataset, "RepetitionTime"),
        echo_time=_number(dataset, "EchoTime"),
        inversion_time=_number(dataset, "InversionTime"),
        flip_angle=_number(dataset, "FlipAngle"),
        b_value=_b_value(dataset),
        scanning_sequence=_words(dataset, "ScanningSequence"),
        sequence_variant=_words(dataset, "SequenceVariant"),
        sequence_name=_text(dataset, "SequenceName"),
        scan_options=_words(dataset, "ScanOptions"),
        echo_number=_integer(dataset, "EchoNumbers"),
        temporal_position=_integer(dataset, "TemporalPositionIdentifier"),
        acquisition_number=_integer(dataset, "AcquisitionNumber"),
        instance_number=_integer(dataset, "InstanceNumber"),
        orientation=_numbers(dataset, "ImageOrientationPatient"),
        position=_numbers(dataset, "ImagePositionPatient"),
        spacing=_numbers(dataset, "PixelSpacing"),
        slice_thickness=_number(dataset, "SliceThickness"),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        slope=slope if math.isfinite(slope) and slope else 1.0,
        intercept=intercept if math.isfinite(intercept) else 0.0,
    )


def _patient(dataset: Dataset) -> str:
    """Patient id with its issuer; blank ids must not merge strangers, so they count as missing."""
    identity = str(dataset.get("PatientID", "") or "").strip()
    return f"{dataset.get('IssuerOfPatientID', '')}/{identity}" if identity else ""


def _tesla(field: float) -> float:
    """Some scanners write gauss."""
    return field / 1e4 if field > 100 else field


def _has_geometry(dataset: Dataset) -> bool:
    orientation = _numbers(dataset, "ImageOrientationPatient")
    spacing = _numbers(dataset, "PixelSpacing")
    return (
        len(orientation) == 6
        and len(_numbers(dataset, "ImagePositionPatient")) == 3
        and len(spacing) == 2
        and min(spacing) > 0
        and abs(_norm(orientation[:3]) - 1) < 0.01
        and abs(_norm(orientation[3:]) - 1) < 0.01
        and abs(sum(a * b for a, b in zip(orientation[:3], orientation[3:], strict=True))) < 0.01
    )


def _norm(vector: tuple[float, ...]) -> float:
    return math.sqrt(sum(value * value for value in vector))


def _b_value(dataset: Dataset) -> float:
    """Diffusion b-value in s/mm2: the standard attribute, or the vendor's private one."""
    standard = _number(dataset, "DiffusionBValue")
    if math.isfinite(standard):
        return standard
    for creator, group, element in PRIVATE_B_VALUES:
        try:
            value = dataset.private_block(group, creator)[element].value
        except KeyError:
            continue
        first = _finite(value[0] if isinstance(value, list | tuple) or hasattr(value, "append") else value)
        if math.isfinite(first):
            return first % 1e9  # GE adds 1e9 to mark the kind of diffusion image
    return math.nan


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip()


def _words(dataset: Dataset, name: str) -> tuple[str, ...]:
    value = dataset.get(name)
    if value is None or value == "":
        return ()
    parts = (value,) if isinstance(value, str) else value
    return tuple(str(part).strip().upper() for part in parts)


def _finite(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _number(dataset: Dataset, name: str) -> float:
    value = dataset.get(name)
    return _finite(value[0] if hasattr(value, "append") and value else value)


def _numbers(dataset: Dataset, name: str) -> tuple[float, ...]:
    value = dataset.get(name)
    numbers = tuple(_finite(part) for part in value) if hasattr(value, "append") and value is not None else ()
    return numbers if all(math.isfinite(number) for number in numbers) else ()


def _integer(dataset: Dataset, name: str) -> int | None:
    number = _number(dataset, name)
    return int(number) if math.isfinite(number) else None
