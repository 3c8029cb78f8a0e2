"""Single MR images as DICOM datasets, bytes, streams and headers."""

import io

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from mricore.imaging.headers import MR_IMAGE, read_file
from mricore.imaging.pixels import read_pixels
from mricore.records import Reason

AXIAL = (1, 0, 0, 0, 1, 0)
CORONAL = (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)
_ENCODINGS = {
    ImplicitVRLittleEndian: (True, True),
    ExplicitVRBigEndian: (False, False),
}
"""(implicit VR, little endian) of the transfer syntaxes that are not explicit and little endian."""


def ramp(rows=64, columns=64, top=4095):
    """Unsigned integers that grow from 0 to ``top``, (rows, columns)."""
    return np.linspace(0, top, rows * columns).astype(np.uint16).reshape(rows, columns)


def dataset(pixels=None, syntax=ExplicitVRLittleEndian, bits=None, **attributes):
    """A valid MR image whose pixels are stored as their type says; keywords set attributes, None deletes one.

    ``bits`` are the stored ones: 12, or 8 for 8-bit pixels, unless given.
    """
    pixels = ramp() if pixels is None else pixels
    image = _skeleton(syntax)
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated = 8 * pixels.dtype.itemsize
    image.BitsStored = bits or min(12, image.BitsAllocated)
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    image.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    for name, value in attributes.items():
        if value is not None:
            setattr(image, name, value)
        elif name in image:
            delattr(image, name)
    if "PixelData" in image:
        image["PixelData"].VR = "OW"
    return image


def to_bytes(image):
    """A dataset as the content of a file, in the encoding that its transfer syntax names."""
    implicit, little = _ENCODINGS.get(image.file_meta.TransferSyntaxUID, (False, True))
    content = io.BytesIO()
    pydicom.dcmwrite(content, image, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return content.getvalue()


def stream(image):
    """A dataset as an open file."""
    return io.BytesIO(to_bytes(image))


def mr_bytes(pixels=None, syntax=ExplicitVRLittleEndian, **attributes):
    """The content of a valid MR file with the given attributes."""
    return to_bytes(dataset(pixels, syntax, **attributes))


def header_of(content, uri="file"):
    """The header of the only image in a file's content, or the reason against the file."""
    found = frames_of(content, uri)
    if isinstance(found, Reason):
        return found
    (header,) = found
    return header


def frames_of(content, uri="file"):
    """The headers of all images in a file's content, or the reason against the file."""
    found = read_file(io.BytesIO(content), uri)
    return found.refused or list(found.images)


def pixels_of(content, frames=(0,), shape=None):
    """The images that ``read_pixels`` finds in a file's content."""
    return list(read_pixels(io.BytesIO(content), frames, shape))


def image_of(content):
    """The first image in a file's content."""
    return pixels_of(content)[0]


def mr_header(uri="file", **attributes):
    """The header of a valid MR image with the given attributes."""
    return header_of(mr_bytes(**attributes), uri)


def _skeleton(syntax):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MR_IMAGE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID = MR_IMAGE
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = "1.2.3"
    image.SeriesInstanceUID = "1.2.3.4"
    image.PatientID = "P1"
    image.PatientName = "Nobody^Known"
    image.Modality = "MR"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    image.BodyPartExamined = "KNEE"
    image.SeriesDescription = "t1_se"
    image.Manufacturer = "SIEMENS"
    image.ScanningSequence = "SE"
    image.RepetitionTime, image.EchoTime = 500, 10
    image.MagneticFieldStrength, image.FlipAngle = 1.5, 90
    image.AcquisitionNumber, image.InstanceNumber = 1, 1
    image.ImageOrientationPatient = list(AXIAL)
    image.ImagePositionPatient = [0, 0, 0]
    image.PixelSpacing = [0.5, 0.5]
    image.SliceThickness = 3
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    return image
