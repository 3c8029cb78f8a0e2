"""One DICOM header -> what curation needs of it, or the reason why the file is of no use."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError

from mricore.config.schema import Curation
from mricore.imaging.attributes import (
    integer,
    number,
    numbers,
    parse_header,
    private_number,
    quiet_pydicom,
    text,
    words,
)
from mricore.imaging.refusals import MR_IMAGE as MR_IMAGE
from mricore.imaging.refusals import refusal
from mricore.records import Reason

MAX_B_VALUE = 100_000.0

_PRIVATE_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
    (0x2001, "PHILIPS IMAGING DD 001", 0x03),
)
"""Group, creator and element of the vendors' b-values."""
_REQUESTED = ("RequestedProcedureDescription", "ScheduledProcedureStepDescription")
FIELD_LIMITS = (0.01, 25.0)
"""Tesla."""
_LIMITS = {
    "repetition_time": (0.0, 1e5),
    "echo_time": (0.0, 1e4),
    "inversion_time": (0.0, 1e5),
    "flip_angle": (0.0, 360.0),
}
"""Times in ms, angle in degrees."""


@dataclass(frozen=True, repr=False)
class FrameHeader:
    """The header of one single-frame MR image. Lengths in mm, times in ms, field in tesla, NaN if missing.

    It holds identifiers, so its ``repr`` shows nothing. ``orientation`` is the direction of a row, then of
    a column; ``spacing`` is between rows, then between columns. The free text (descriptions, coil) serves
    to derive categories and goes nowhere else. ``procedures`` joins the performed procedure, the request's
    and the coded anatomic region; ``shows_face`` is what a de-identification tool said of the pixels.
    """

    uri: str
    sop_uid: str
    series_uid: str
    study_uid: str
    patient_key: str
    modality: str
    image_type: tuple[str, ...]
    body_part: str
    study_description: str
    series_description: str
    protocol_name: str
    requested_procedure: str
    procedures: str
    shows_face: bool
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
    bits_stored: int
    slope: float
    intercept: float
    photometric: str
    transfer_syntax: str
    burned_in: bool

    def __repr__(self) -> str:
        return "FrameHeader(withheld)"


def read_header(stream: BinaryIO, uri: str) -> FrameHeader | Reason:
    """Read a header without its pixels; never raises for what a file contains.

    Raises:
        OSError: the stream itself fails.
    """
    with quiet_pydicom():
        try:
            dataset, has_pixels = parse_header(stream)
            return refusal(dataset, has_pixels) or _frame(dataset, uri)
        except InvalidDicomError:
            return Reason.NOT_DICOM
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - on damaged bytes pydicom raises almost anything
            return Reason.UNREADABLE_HEADER


_LOCALIZER = re.compile(r"\b(LOC|LO[CK]ALI[SZ]\w*|LOCATOR|SCOUTS?|SURV|SURVEYS?|REPERAGE|TOPOGRAMM?E?)\d*\b")
_COMPUTED = re.compile(
    r"\b(MIP|MINIP|PROJECTION|SUB|SUBTRACT|SUBTRACTION|SCREEN|SCREENSHOT"
    r"|ADC|EADC|DADC|FA|COLFA|EXP|TRACEW?|TENSOR|TTP|MTT|R?CBV|R?CBF|PBP|KTRANS|VE|KEP|IAUC|TMAX"
    r"|GLM|STATISTICS|T TEST|FAT FRACTION|FATFRAC(TION)?"
    r"|(T1|T2|T2 STAR|R1|R2|R2 STAR|T1RHO|PERFUSION) ?MAP)\b"
)
"""ImageType values of images that no scanner acquires: projections, differences, parametric maps."""
_NAMED_COMPUTED = re.compile(r"\b(E?ADC|MIPS?|MINIP|SUBTRACTIONS?)\b")
"""Names of series that are no acquisitions, whatever their ImageType says."""
_REFORMATTED = re.compile(r"\b(MPR|CPR|REFORMAT|REFORMATTED|RESAMPLED|CURVED|MEAN|AVERAGE)\b")
"""ImageType values that mean a reformat only in a derived image."""
_PHANTOM = re.compile(r"\bPH?ANTOM[ES]?\b(?! (LIMB|PAIN))|\bFANTOM[AE]?\b")


def frame_reason(header: FrameHeader, policy: Curation) -> Reason | None:
    """Why the policy leaves out an image that could be read, judged by its header alone.

    A localizer says so in ImageType or, on scanners that do not write it there, in the name of the series.
    Derived means recomputed from other images. DERIVED\\SECONDARY alone does not say that: archives write
    it over untouched originals. Nor does MPR alone: GE writes ORIGINAL\\PRIMARY\\MPR for oblique
    acquisitions. So a reformat needs both words, whereas a projection, a difference or a parametric map
    is never an acquisition, whatever the first value says. A phantom is known by what was examined, never
    by the patient's name.
    """
    kind = _plain(" / ".join(header.image_type[2:]))
    series = _plain(f"{header.series_description} / {header.protocol_name}")
    study = _plain(f"{header.body_part} / {header.study_description} / {header.requested_procedure}")
    derived = header.image_type[:1] == ("DERIVED",)
    if _LOCALIZER.search(kind) or _LOCALIZER.search(series):
        return Reason.LOCALIZER
    if _COMPUTED.search(kind) or (derived and _REFORMATTED.search(kind)) or _NAMED_COMPUTED.search(series):
        return Reason.DERIVED
    if _PHANTOM.search(series) or _PHANTOM.search(study):
        return Reason.PHANTOM
    if min(header.rows, header.columns) < policy.min_pixels:
        return Reason.TOO_SMALL
    return None


def _plain(words: str) -> str:
    """Upper case without accents, single spaces between words; the slash keeps texts apart."""
    bare = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^A-Z0-9/]+", " ", bare.upper()).split())


def _frame(dataset: FileDataset, uri: str) -> FrameHeader | Reason:
    sop = text(dataset, "SOPInstanceUID") or text(dataset.file_meta, "MediaStorageSOPInstanceUID")
    series = text(dataset, "SeriesInstanceUID")
    study = text(dataset, "StudyInstanceUID") or series
    slope, intercept = _rescale(dataset)
    if not (sop and series) or not slope or not math.isfinite(slope + intercept):
        return Reason.UNREADABLE_HEADER
    values: dict[str, Any] = {field: read(dataset, name) for field, (read, name) in _FIELDS.items()}
    for field, limits in _LIMITS.items():
        values[field] = _within(limits, values[field])
    return FrameHeader(
        uri=uri,
        sop_uid=sop,
        series_uid=series,
        study_uid=study,
        patient_key=_patient(dataset) or study,
        modality="MR",
        procedures=_procedures(dataset),
        shows_face=text(dataset, "RecognizableVisualFeatures").upper() == "YES",
        field_strength=_within(FIELD_LIMITS, _tesla(number(dataset, "MagneticFieldStrength"))),
        b_value=_b_value(dataset),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        bits_stored=int(dataset.BitsStored),
        slope=slope,
        intercept=intercept,
        transfer_syntax=str(dataset.file_meta.get("TransferSyntaxUID", "")),
        burned_in=False,
        **values,
    )


_FIELDS: dict[str, tuple[Callable[[Dataset, str], Any], str]] = {
    "image_type": (words, "ImageType"),
    "body_part": (text, "BodyPartExamined"),
    "study_description": (text, "StudyDescription"),
    "series_description": (text, "SeriesDescription"),
    "protocol_name": (text, "ProtocolName"),
    "requested_procedure": (text, "RequestedProcedureDescription"),
    "coil": (text, "ReceiveCoilName"),
    "manufacturer": (text, "Manufacturer"),
    "model": (text, "ManufacturerModelName"),
    "repetition_time": (number, "RepetitionTime"),
    "echo_time": (number, "EchoTime"),
    "inversion_time": (number, "InversionTime"),
    "flip_angle": (number, "FlipAngle"),
    "scanning_sequence": (words, "ScanningSequence"),
    "sequence_variant": (words, "SequenceVariant"),
    "sequence_name": (text, "SequenceName"),
    "scan_options": (words, "ScanOptions"),
    "echo_number": (integer, "EchoNumbers"),
    "temporal_position": (integer, "TemporalPositionIdentifier"),
    "acquisition_number": (integer, "AcquisitionNumber"),
    "instance_number": (integer, "InstanceNumber"),
    "orientation": (numbers, "ImageOrientationPatient"),
    "position": (numbers, "ImagePositionPatient"),
    "spacing": (numbers, "PixelSpacing"),
    "slice_thickness": (number, "SliceThickness"),
    "photometric": (text, "PhotometricInterpretation"),
}


def _procedures(dataset: Dataset) -> str:
    """What the performed procedure, the request and the coded anatomic region say."""
    found = [text(dataset, "PerformedProcedureStepDescription")]
    for item in dataset.get("RequestAttributesSequence") or []:
        found += [text(item, name) for name in _REQUESTED]
    found += [text(item, "CodeMeaning") for item in dataset.get("AnatomicRegionSequence") or []]
    return " / ".join(part for part in found if part)


def _within(limits: tuple[float, float], value: float) -> float:
    """NaN for what no scanner does: a number that is none of physics may be one of a patient."""
    return value if limits[0] <= value <= limits[1] else math.nan


def _rescale(dataset: Dataset) -> tuple[float, float]:
    """Slope and intercept: 1 and 0 where the file has none, NaN where it has nonsense."""
    slope = number(dataset, "RescaleSlope") if text(dataset, "RescaleSlope") else 1.0
    intercept = number(dataset, "RescaleIntercept") if text(dataset, "RescaleIntercept") else 0.0
    return slope, intercept


def _patient(dataset: Dataset) -> str:
    """Patient id with its issuer; a blank id counts as missing, since it would merge strangers."""
    identity = text(dataset, "PatientID")
    return f"{text(dataset, 'IssuerOfPatientID')}/{identity}" if identity else ""


def _tesla(field: float) -> float:
    """Some scanners write gauss."""
    return field / 1e4 if field > 100 else field


def _b_value(dataset: Dataset) -> float:
    """Diffusion b-value in s/mm2: the standard attribute, or the vendor's private one."""
    candidates = [number(dataset, "DiffusionBValue")]
    candidates += [private_number(dataset, *place) for place in _PRIVATE_B_VALUES]
    found = next((value for value in candidates if math.isfinite(value)), math.nan)
    plain = found % 1e9  # GE adds 1e9 to mark the kind of diffusion image
    return plain if found >= 0 and plain <= MAX_B_VALUE else math.nan
