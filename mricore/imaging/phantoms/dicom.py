"""Write a scanned phantom as DICOM, with the habits of three vendors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

from mricore.imaging.headers import MR_IMAGE
from mricore.imaging.phantoms.tissues import Timing
from mricore.imaging.phantoms.volume import Grid


@dataclass(frozen=True)
class Vendor:
    """How a maker's scanners store images."""

    manufacturer: str
    model: str
    bits: int
    signed: bool
    slope: float | None


VENDORS = (
    Vendor("SIEMENS", "MAGNETOM Phantom", 12, False, None),
    Vendor("GE MEDICAL SYSTEMS", "SIGNA Phantom", 16, True, None),
    Vendor("Philips Medical Systems", "Ingenia Phantom", 12, False, 1.7),
)


@dataclass(frozen=True)
class SeriesHeader:
    """What all images of a series share."""

    patient: str
    name: str
    study: str
    series: str
    number: int
    body_part: str
    study_description: str
    description: str
    coil: str
    image_type: tuple[str, ...]
    vendor: Vendor
    field_strength: float
    compressed: bool = False
    implicit: bool = False


def write_series(
    folder: Path, header: SeriesHeader, grid: Grid, timings: tuple[Timing, ...], image: NDArray[np.float32]
) -> int:
    """Write image (echoes, slices, rows, columns) as one file per slice and echo; returns their number."""
    folder.mkdir(parents=True)
    stored = _stored(image, header.vendor)
    number = 0
    for index in range(grid.shape[0]):
        for echo, timing in enumerate(timings):
            number += 1
            dataset = _dataset(header, number)
            _describe_physics(dataset, header, timing, echo)
            _describe_geometry(dataset, grid, index)
            _store_pixels(dataset, header, stored[echo, index])
            dataset.save_as(folder / f"IM{number:06d}", enforce_file_format=True)
    return number


def _stored(image: NDArray[np.float32], vendor: Vendor) -> NDArray[np.uint16] | NDArray[np.int16]:
    top = 2000 if vendor.bits == 12 else 9000
    integers = np.clip(np.rint(image * top), 0, (1 << min(vendor.bits, 15)) - 1)
    return integers.astype(np.int16) if vendor.signed else integers.astype(np.uint16)


def _dataset(header: SeriesHeader, number: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(MR_IMAGE)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[header.series, str(number)])
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if header.implicit else ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = UID(MR_IMAGE)
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientName = header.name
    dataset.PatientID = header.patient
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[header.study])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[header.series])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[header.study, "frame"])
    dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
    dataset.Modality = "MR"
    dataset.ImageType = list(header.image_type)
    dataset.Manufacturer = header.vendor.manufacturer
    dataset.ManufacturerModelName = header.vendor.model
    dataset.BodyPartExamined = header.body_part
    dataset.StudyDescription = header.study_description
    dataset.SeriesDescription = header.description
    dataset.ProtocolName = header.description
    dataset.ReceiveCoilName = header.coil
    dataset.SeriesNumber = header.number
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = number
    return dataset


def _describe_physics(dataset: FileDataset, header: SeriesHeader, timing: Timing, echo: int) -> None:
    dataset.ScanningSequence = ["SE", "IR"] if timing.inversion else "SE"
    dataset.SequenceVariant = "SK"
    dataset.MRAcquisitionType = "2D"
    dataset.MagneticFieldStrength = header.field_strength
    dataset.RepetitionTime = timing.repetition
    dataset.EchoTime = timing.echo
    if timing.inversion:
        dataset.InversionTime = timing.inversion
    dataset.FlipAngle = 90
    dataset.EchoNumbers = echo + 1
    dataset.EchoTrainLength = 8 if timing.repetition > 1500 else 1


def _describe_geometry(dataset: FileDataset, grid: Grid, index: int) -> None:
    directions = [*grid.row_direction, *grid.column_direction]
    dataset.ImageOrientationPatient = [round(float(value), 8) for value in directions]
    dataset.ImagePositionPatient = [round(float(value), 4) for value in grid.slice_position(index)]
    dataset.PixelSpacing = [round(grid.pixel, 6)] * 2
    dataset.SliceThickness = round(grid.gap * 0.9, 3)
    dataset.SpacingBetweenSlices = round(grid.gap, 3)


def _store_pixels(
    dataset: FileDataset, header: SeriesHeader, pixels: NDArray[np.uint16] | NDArray[np.int16]
) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = header.vendor.bits
    dataset.HighBit = header.vendor.bits - 1
    dataset.PixelRepresentation = int(header.vendor.signed)
    if header.vendor.slope is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = header.vendor.slope, 0
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OW"
    if header.compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
