"""The header of a DICOM file -> what curation needs of each image, or why the file is of no use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from mricore.imaging.acquisition import acquisition
from mricore.imaging.attributes import integer, text
from mricore.imaging.elements import Elements
from mricore.imaging.files import DicomFile, NotDicomError, open_dicom
from mricore.imaging.grids import is_grid, read_grid
from mricore.imaging.mosaic import is_mosaic, read_mosaic
from mricore.imaging.multiframe import Dimensions, frame_attributes, has_functional_groups
from mricore.imaging.pixel_format import PixelFormat, padding_range, pixel_format
from mricore.imaging.refusals import MR_IMAGE as MR_IMAGE
from mricore.imaging.refusals import has_geometry, refusal
from mricore.records import Reason

FRAME_STEP = 1_000_000
"""Instance numbers of the frames of one file lie between this multiple of the file's and the next."""


@dataclass(frozen=True, repr=False)
class FrameHeader:
    """The header of one MR image. Lengths in mm, times in ms, field in tesla, NaN if missing.

    It holds identifiers, so its ``repr`` shows nothing. ``frame`` counts the frames of the file, or the tiles
    of a mosaic, from 0. ``orientation`` is the direction of a row, then of a column; ``spacing`` is between
    rows, then between columns. The free text (descriptions, coil) serves to derive categories and goes
    nowhere else. ``procedures`` joins the performed procedure, the request's and the coded anatomic regions;
    ``shows_face`` is what a de-identification tool said of the pixels. ``padding`` is the inclusive range of
    integers, as ``read_pixels`` returns them, that mean no signal. ``instance_number`` orders the images of a
    series, also those of several multi-frame files. ``trigger_time`` counts from the heart's beat.
    """

    uri: str
    frame: int
    sop_uid: str
    series_uid: str
    study_uid: str
    patient_key: str
    accession: str
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
    echo_number: int | None
    temporal_position: int | None
    trigger_time: float
    stack: str
    acquisition_number: int | None
    instance_number: int | None
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, ...]
    rows: int
    columns: int
    slope: float
    intercept: float
    padding: tuple[int, int] | None

    def __repr__(self) -> str:
        return "FrameHeader(withheld)"


@dataclass(frozen=True, repr=False)
class ReadFile:
    """What the header of a file says: its images in stored order, or the reason why it is refused.

    ``unplaced`` counts images without geometry beside others that are usable, and ``unscaled`` those whose
    slope or intercept is nonsense. ``tags`` are the attributes of
    the file, without those inside sequences; none if it is damaged or no DICOM.
    """

    images: tuple[FrameHeader, ...] = ()
    refused: Reason | None = None
    unplaced: int = 0
    unscaled: int = 0
    tags: frozenset[int] = frozenset()


def read_file(stream: BinaryIO, uri: str) -> ReadFile:
    """Read the headers of all images of a file without their pixels; never raises for what a file contains.

    A classic file has one image, an Enhanced or Legacy Converted Enhanced one an image per frame, a mosaic
    or grid one per tile.

    Raises:
        OSError: the stream itself fails.
    """
    try:
        file = open_dicom(stream)
        reason = refusal(file)
        found = ReadFile(refused=reason) if reason else _images(file, uri)
        return replace(found, tags=frozenset(file.header.tags))
    except NotDicomError:
        return ReadFile(refused=Reason.NOT_DICOM)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - whatever damaged bytes lead to, one file must not end a run
        return ReadFile(refused=Reason.UNREADABLE_HEADER)


def _images(file: DicomFile, uri: str) -> ReadFile:
    header, layout = file.header, pixel_format(file.header)
    if layout.frames > 1 and not has_functional_groups(header):
        return ReadFile(refused=Reason.NO_GEOMETRY)
    if layout.frames == 1 and is_grid(header):
        return _grid(file, uri, layout)
    found = _usable(_headers(file, uri, layout, frame_attributes(header, layout.frames)))
    if layout.frames == 1 and found.images and is_mosaic(header):
        return _mosaic(found.images[0], header)
    return found


def _headers(file: DicomFile, uri: str, layout: PixelFormat, frames: Iterable[Elements]) -> list[FrameHeader]:
    """A header for the attributes of each frame or tile."""
    header = file.header
    multiframe, number = has_functional_groups(header), integer(header, "InstanceNumber")
    common, dimensions = _of_file(file, uri, layout), Dimensions(header)
    return [
        FrameHeader(
            frame=k,
            instance_number=(number or 0) * FRAME_STEP + k if multiframe else number,
            **common,
            **acquisition(frame, dimensions),
        )
        for k, frame in enumerate(frames)
    ]


def _usable(images: Sequence[FrameHeader]) -> ReadFile:
    """The images that have intensities and geometry; the others are counted."""
    scaled = [one for one in images if math.isfinite(one.slope)]
    placed = [one for one in scaled if has_geometry(one.orientation, one.position, one.spacing)]
    if not placed:
        return ReadFile(refused=Reason.NO_GEOMETRY if scaled else Reason.UNREADABLE_HEADER)
    return ReadFile(tuple(placed), unplaced=len(scaled) - len(placed), unscaled=len(images) - len(scaled))


def _grid(file: DicomFile, uri: str, layout: PixelFormat) -> ReadFile:
    grid = read_grid(file.header, (layout.rows, layout.columns))
    if grid is None:
        return ReadFile(refused=Reason.MOSAIC)
    return _usable(_headers(file, uri, replace(layout, rows=grid.rows, columns=grid.columns), grid.tiles))


def _mosaic(image: FrameHeader, header: Elements) -> ReadFile:
    shape = image.rows, image.columns
    mosaic = read_mosaic(header, shape, image.orientation, image.position, image.spacing)
    if mosaic is None:
        return ReadFile(refused=Reason.MOSAIC)
    return ReadFile(
        tuple(
            replace(image, frame=k, position=position, rows=mosaic.rows, columns=mosaic.columns)
            for k, position in enumerate(mosaic.positions)
        )
    )


def _of_file(file: DicomFile, uri: str, layout: PixelFormat) -> dict[str, Any]:
    """What all images of a file share.

    Raises:
        ValueError: nothing tells which image and which series this is.
    """
    header = file.header
    sop = text(header, "SOPInstanceUID") or text(file.meta, "MediaStorageSOPInstanceUID")
    series = text(header, "SeriesInstanceUID")
    study = text(header, "StudyInstanceUID") or series
    if not (sop and series):
        raise ValueError("no identity")
    return {
        "uri": uri,
        "sop_uid": sop,
        "series_uid": series,
        "study_uid": study,
        "patient_key": _patient(header) or study,
        "shows_face": text(header, "RecognizableVisualFeatures").upper() == "YES",
        "rows": layout.rows,
        "columns": layout.columns,
        "padding": padding_range(header, layout),
        **{field: text(header, keyword) for field, keyword in _TEXTS.items()},
    }


_TEXTS = {
    "accession": "AccessionNumber",
    "body_part": "BodyPartExamined",
    "study_description": "StudyDescription",
    "series_description": "SeriesDescription",
    "protocol_name": "ProtocolName",
    "requested_procedure": "RequestedProcedureDescription",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
}


def _patient(header: Elements) -> str:
    """Patient id with its issuer; a blank id counts as missing, since it would merge strangers."""
    identity = text(header, "PatientID")
    return f"{text(header, 'IssuerOfPatientID')}/{identity}" if identity else ""
