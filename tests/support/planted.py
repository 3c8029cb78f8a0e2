"""Identifiers planted wherever DICOM allows them, and a search that looks into what is packed or encoded."""

import base64
import gzip
import io
import re
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
from dicom_files import to_bytes
from enhanced_files import at, enhanced, stack
from mosaic_files import mosaic
from pyarrow import ipc
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

PLANTED = (
    "ZORBLATT",
    "QUENTINA",
    "PID7731905",
    "ACC5550123",
    "19471103",
    "XYLOPHONIA GENERAL",
    "DRVANSNOOT",
    "9.87.6543.21",
    "FREETEXTSECRET",
    "PRIVATESECRET",
    "NESTEDSECRET",
    "OVERLAYSECRET",
    "FILENAMESECRET",
)
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}")


def plant_identifiers(source, target):
    """Copy a collection with identifiers wherever DICOM allows them; names of files and folders too."""
    for number, path in enumerate(sorted(path for path in source.rglob("*") if path.is_file())):
        dataset = pydicom.dcmread(path)
        _plant(dataset)
        place = (
            target / "FILENAMESECRET_ZORBLATT" / path.relative_to(source).parent / f"QUENTINA_{number}.dcm"
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(place)
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            plain = place
    _plant_damaged_files(target / "FILENAMESECRET_ZORBLATT", plain.read_bytes())
    _plant_multiframe_files(target / "FILENAMESECRET_ZORBLATT")


def _plant(dataset):
    dataset.PatientName = "ZORBLATT^QUENTINA"
    dataset.PatientID = f"PID7731905-{dataset.PatientID}"
    dataset.PatientBirthDate = "19471103"
    dataset.AccessionNumber = "ACC5550123"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "19471103"
    dataset.InstitutionName = "XYLOPHONIA GENERAL"
    dataset.ReferringPhysicianName = "DRVANSNOOT"
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, name, f"9.87.6543.21.{getattr(dataset, name)}"[:64])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyDescription = f"{dataset.StudyDescription} FREETEXTSECRET"
    dataset.SeriesDescription = f"{dataset.SeriesDescription} FREETEXTSECRET"
    dataset.ImageComments = "FREETEXTSECRET ZORBLATT"
    dataset.private_block(0x0099, "PRIVATESECRET", create=True).add_new(0x01, "LO", "PRIVATESECRET")
    dataset.DeviceSerialNumber = "PID7731905"
    dataset.preamble = b"ZORBLATT QUENTINA".ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = "ZORBLATT"
    _plant_nested(dataset)
    _plant_overlay(dataset)


def _plant_nested(dataset):
    """Names three levels deep, in sequences that are read and in others, private ones among them."""
    for keyword in ("RequestAttributesSequence", "OtherPatientIDsSequence", "AnatomicRegionSequence"):
        inner, outer = Dataset(), Dataset()
        inner.PatientName = "NESTEDSECRET"
        inner.CodeMeaning = "NESTEDSECRET"
        outer.ReferencedStudySequence = Sequence([inner])
        outer.RequestedProcedureDescription = outer.CodeMeaning = "knee NESTEDSECRET"
        setattr(dataset, keyword, Sequence([outer]))
    private = Dataset()
    private.PatientName = "NESTEDSECRET"
    block = dataset.private_block(0x0077, "PRIVATESECRET", create=True)
    block.add_new(0x02, "SQ", Sequence([private]))
    block.add_new(0x03, "OB", b"PRIVATESECRET ZORBLATT ")


def _plant_overlay(dataset):
    """Text in the overlay's attributes and its bits; and a pattern in the bits above the stored ones."""
    dataset.add_new(0x60000022, "LO", "OVERLAYSECRET")
    dataset.add_new(0x60003000, "OW", b"OVERLAYSECRET ")
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and dataset.BitsStored <= 12:
        pixels = np.frombuffer(dataset.PixelData, "<u2" if dataset.is_little_endian else ">u2").copy()
        pixels[::3] |= 0x8000
        dataset.PixelData = pixels.tobytes()


def _plant_damaged_files(folder, content):
    """Files that fail in different passes of curation, each full of identifiers."""
    (folder / "ZORBLATT_truncated.dcm").write_bytes(content[: len(content) // 3])
    (folder / "ZORBLATT_text.txt").write_text("ZORBLATT QUENTINA PID7731905")
    broken = pydicom.dcmread(io.BytesIO(content))
    broken.SeriesInstanceUID = "9.87.6543.21.77"
    for number in range(6):
        broken.SOPInstanceUID = f"9.87.6543.21.77.{number}"
        broken.ImagePositionPatient = [0, 0, 10.0 * number]
        broken.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        broken.BodyPartExamined = "KNEE"
        broken.StudyDescription = "MR KNEE"
        broken.StudyInstanceUID = "9.87.6543.21.78"
        broken.ReceiveCoilName = ""
        broken.PixelData = b"\0" * 10
        broken.save_as(folder / f"ZORBLATT_pixels_{number}.dcm")


def _plant_multiframe_files(folder):
    """An Enhanced object with names in the groups of its frames, and a mosaic."""
    frames = [
        at(0, 0, 4 * k, FrameContentSequence={"StackID": "ZORBLATT", "FrameComments": "FREETEXTSECRET"})
        for k in range(6)
    ]
    several = enhanced(stack(6, 64, 64), frames, BodyPartExamined="KNEE", SeriesInstanceUID="9.87.6543.21.80")
    tiles = mosaic(stack(6, 64, 64, seed=1), count=6, BodyPartExamined="KNEE", SpacingBetweenSlices=3)
    tiles.SeriesInstanceUID = "9.87.6543.21.81"
    for name, image in (("several", several), ("tiles", tiles)):
        image.PatientName, image.PatientID = "ZORBLATT^QUENTINA", f"PID7731905-{name}"
        image.StudyInstanceUID = f"9.87.6543.21.{len(name)}"
        image.StudyDescription = "MR KNEE FREETEXTSECRET"
        (folder / f"ZORBLATT_{name}.dcm").write_bytes(to_bytes(image))


def planted_in(content):
    """Planted words that occur in bytes in any case: plain, in UTF-16, in tables, packed or as base64."""
    texts = [text.lower() for text in _texts(content)]
    return [
        word
        for word in PLANTED
        if any(word.lower().encode(encoding) in text for encoding in _ENCODINGS for text in texts)
    ]


def _texts(content):
    yield content
    if content[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(content))
        yield repr((table.to_pylist(), table.schema.metadata)).encode()
    elif content[:6] == b"ARROW1":
        yield repr(ipc.open_file(pa.BufferReader(content)).read_all().to_pylist()).encode()
    elif content[:2] == b"\x1f\x8b":
        yield from _texts(gzip.decompress(content))
    for found in _BASE64.findall(content):
        yield base64.b64decode(found[: len(found) // 4 * 4])
    for place in (match.start() for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", content[:4096])):
        try:
            yield zlib.decompressobj().decompress(content[place:], 1 << 20)
        except zlib.error:
            continue
