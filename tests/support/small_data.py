"""Small collections of DICOM for tests of whole jobs, with and without planted identifiers."""

import io

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mricore.imaging.phantoms.collection import CollectionSpec, write_collection

SPEC = CollectionSpec(patients=4, matrix=96, slices=8)

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


def small_collection(folder):
    return write_collection(folder, SPEC)


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
    nested = Dataset()
    nested.PatientName = "NESTEDSECRET"
    nested.add_new(0x00400275, "SQ", Sequence([Dataset()]))
    dataset.RequestAttributesSequence = Sequence([nested])
    dataset.add_new(0x60000022, "LO", "OVERLAYSECRET")
    dataset.DeviceSerialNumber = "PID7731905"


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


def planted_in(content):
    """Planted strings that occur in bytes, in UTF-8 or UTF-16."""
    return [word for word in PLANTED if word.encode() in content or word.encode("utf-16-le") in content]
