"""Every reason for leaving something out, produced by an archive that has each fault once."""

import numpy as np
import pytest
from dicom_files import dataset, mr_bytes, to_bytes
from knee_series import picture, write_series

from mricore.config.curation import Curation
from mricore.data.curate import curate
from mricore.data.job import Job
from mricore.data.storage import place
from mricore.data.work import in_process
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.records import Reason

KEY = b"k" * 32
HIPS = range(82, 94)
POLICY = Curation(exams_per_protocol=11, near_duplicates="drop")


def spoiled(patient, number, **attributes):
    """The content of one file of an otherwise good series."""
    return mr_bytes(
        attributes.pop("pixels", picture(patient, 1, number)),
        **{"PatientID": f"P{patient}", "SOPInstanceUID": f"2.{patient}.{number}", **attributes},
    )


FILES = {
    Reason.NOT_DICOM: b"a letter",
    Reason.UNREADABLE_HEADER: spoiled(50, 1, SeriesInstanceUID=None),
    Reason.NOT_MR: spoiled(50, 2, Modality="CT"),
    Reason.NO_PIXELS: spoiled(50, 3, PixelData=None),
    Reason.NO_GEOMETRY: spoiled(50, 4, ImagePositionPatient=None),
    Reason.MOSAIC: spoiled(50, 5, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]),
    Reason.NOT_GRAYSCALE: spoiled(50, 6, PhotometricInterpretation="PALETTE COLOR"),
    Reason.BIT_DEPTH: spoiled(50, 7, BitsAllocated=32),
    Reason.BURNED_IN_ANNOTATION: spoiled(50, 8, BurnedInAnnotation="YES"),
    Reason.SCREENSHOT: spoiled(50, 9, ConversionType="WSD"),
}
IMAGES = {
    Reason.LOCALIZER: {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    Reason.DERIVED: {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
    Reason.PHANTOM: {"StudyDescription": "MR PHANTOM"},
    Reason.TOO_SMALL: {"pixels": np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)},
    Reason.EXCLUDED_WORDS: {"StudyDescription": "MR KNEE CADAVER"},
}
SERIES = {
    Reason.FACIAL_ANATOMY: {"BodyPartExamined": "HEAD"},
    Reason.UNKNOWN_ANATOMY: {"BodyPartExamined": None, "StudyDescription": None},
}


def positions(*places):
    """Slices at these places (mm)."""
    return lambda folder, patient: [
        write_series(folder, patient, first=number, slices=1, ImagePositionPatient=[0, 0, z])
        for number, z in enumerate(places)
    ]


def with_one_damaged(folder, patient):
    write_series(folder, patient)
    image = dataset(picture(patient, 1, 3))
    fields = (
        ("PatientID", f"P{patient}"),
        ("StudyInstanceUID", f"1.{patient}"),
        ("StudyDescription", "MR KNEE"),
    )
    for name, value in (
        *fields,
        ("SeriesInstanceUID", f"1.{patient}.1"),
        ("SOPInstanceUID", f"1.{patient}.1.3"),
    ):
        setattr(image, name, value)
    image.ImagePositionPatient, image.InstanceNumber = [0, 0, 12], 4
    image.PixelData = image.PixelData[:500]
    (folder / f"{patient}-1-3.dcm").write_bytes(to_bytes(image))


def with_one_empty(folder, patient):
    write_series(folder, patient)
    flat = np.full((80, 80), 7, np.uint16)
    write_series(folder, patient, first=6, slices=1, pixels=lambda *_: flat)


def near(folder, patient):
    """The pictures of another patient at half the brightness: the same to the eye, not to a digest."""
    write_series(
        folder, patient, slices=5, pixels=lambda _patient, _series, number: picture(20, 1, number) // 2
    )


VOLUMES = {
    Reason.TOO_FEW_SLICES: positions(0, 4, 8),
    Reason.GAP: positions(0, 4, 8, 16, 20, 24),
    Reason.DUPLICATE_POSITION: positions(0, 4, 8, 12, 16, 16),
    Reason.UNREADABLE_PIXELS: with_one_damaged,
    Reason.EMPTY_IMAGE: with_one_empty,
    Reason.NEAR_DUPLICATE: near,
    Reason.REPEATED_VOLUME: lambda folder, patient: write_series(
        folder, patient, pixels=lambda _patient, series, number: picture(21, series, number)
    ),
}
EXPECTED = {
    **{("file", reason): 1 for reason in FILES},
    **{("image", reason): 1 for reason in IMAGES},
    **{("series", reason): 1 for reason in SERIES},
    **{("volume", reason): 1 for reason in list(VOLUMES)[:4]},
    ("image", Reason.EMPTY_IMAGE): 1,
    ("image", Reason.NEAR_DUPLICATE): 5,
    ("image", Reason.REPEATED_VOLUME): 6,
    ("image", Reason.DUPLICATE_IMAGE): 2,
    ("volume", Reason.CHANGED_VOLUME): 1,
    ("exam", Reason.NOT_IN_EXAM_TABLE): 1,
    ("exam", Reason.PROTOCOL_NOT_WANTED): 1,
    ("exam", Reason.OTHER_EXAM_OF_PATIENT): 1,
    ("exam", Reason.OVER_PROTOCOL_LIMIT): 1,
}


def write_archive(folder):
    for name, content in enumerate(FILES.values()):
        folder.mkdir(exist_ok=True)
        (folder / f"file{name}").write_bytes(content)
    for number, changes in enumerate(IMAGES.values()):
        (folder / f"image{number}").write_bytes(spoiled(60 + number, 1, **changes))
    for patient in (20, 21, 22):
        write_series(folder / str(patient), patient)
    write_series(folder / "copy", 22, slices=2)
    for number, changes in enumerate(SERIES.values()):
        write_series(folder / f"series{number}", 70 + number, **changes)
    for number, write in enumerate(VOLUMES.values()):
        write(folder / f"volume{number}", 30 + number)
    write_series(folder / "second exam", 22, series=2, StudyInstanceUID="1.22.2")
    write_series(folder / "unlisted", 80)
    write_series(folder / "unwanted", 81)
    for patient in HIPS:
        write_series(folder / "many", patient, StudyDescription="MR HIP")


def exam_table():
    """All exams but one."""
    protocols = {f"1.{patient}": "knee" for patient in range(20, 80)} | {"1.22.2": "knee", "1.2.3": "knee"}
    protocols |= {"1.81": Reason.PROTOCOL_NOT_WANTED} | {f"1.{patient}": "hip" for patient in HIPS}
    return {Pseudonymizer(KEY).exam_key(name): protocol for name, protocol in protocols.items()}


@pytest.fixture(scope="module")
def rejected(tmp_path_factory):
    """Rejects of both rounds: in the second one a stored volume has grown, and the draw is full."""
    folder = tmp_path_factory.mktemp("faults")
    write_archive(folder / "in")
    table, target = exam_table(), place(str(folder / "out"))
    source = place(str(folder / "in"))
    first = curate(Job(source, target, POLICY, KEY, table), in_process)
    write_series(folder / "in" / "20", 20, first=6, slices=1)
    second = curate(Job(source, target, POLICY, KEY, table), in_process)
    found = {}
    for manifest in (first, second):
        found |= {(row["level"], row["reason"]): row["count"] for row in manifest.rejected}
    return found


@pytest.mark.parametrize(("level", "reason"), EXPECTED, ids=str)
def test_a_fault_is_counted_where_the_documentation_says(rejected, level, reason):
    assert rejected.get((level, reason)) == EXPECTED[level, reason]


def test_every_reason_is_produced_and_no_other_reject_is():
    of_tasks = {Reason.JUDGED_PATIENT, Reason.UNUSABLE_CASE}  # tests/evaluation/test_curate_tasks.py
    assert {reason for _, reason in EXPECTED} == set(Reason) - of_tasks


def test_nothing_else_is_left_out(rejected):
    assert set(rejected) == set(EXPECTED)
