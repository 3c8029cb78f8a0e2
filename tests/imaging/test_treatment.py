"""What the audit says of attributes is what the code does with them."""

import re
from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword

from mricore.imaging.treatment import PRIVATE, REMOVED, UNKNOWN, attribute_names, tag_of, treatment

IMAGING = Path(__file__).parents[2] / "mricore" / "imaging"
READERS = (
    *(
        "headers",
        "acquisition",
        "refusals",
        "pixel_format",
        "multiframe",
        "mosaic",
        "grids",
        "files",
        "elements",
    ),
)


def keywords_read():
    """Every DICOM keyword that stands in the code that reads files."""
    source = "".join((IMAGING / f"{name}.py").read_text() for name in READERS)
    return {word for word in re.findall(r'"([A-Z][A-Za-z0-9]+)"', source) if tag_for_keyword(word)}


def test_no_attribute_is_read_and_called_removed():
    read = keywords_read()
    assert len(read) > 50
    assert {keyword for keyword in read if treatment(keyword) == REMOVED} == set()


@pytest.mark.parametrize(
    "keyword",
    [
        *(
            "PatientName",
            "PatientBirthDate",
            "StudyDate",
            "AcquisitionTime",
            "InstitutionName",
            "StationName",
        ),
        *("ReferringPhysicianName", "DeviceSerialNumber", "ImageComments", "OtherPatientIDsSequence"),
        *("FrameOfReferenceUID", "OverlayData", "PatientComments", "OperatorsName", "StudyID"),
    ],
)
def test_what_names_a_person_a_place_or_a_time_is_removed(keyword):
    assert treatment(keyword) == REMOVED


def test_private_and_unknown_attributes_have_no_names_of_their_own():
    assert attribute_names([0x00100010, 0x00990010, 0x00991001, 0x00100099]) == {
        "PatientName",
        PRIVATE,
        UNKNOWN,
    }
    assert {treatment(PRIVATE), treatment(UNKNOWN)} == {REMOVED}


def test_tags_are_written_as_dicom_does():
    assert tag_of("PatientName") == "(0010,0010)"
    assert tag_of("PixelData") == "(7FE0,0010)"
    assert tag_of(PRIVATE) == ""
