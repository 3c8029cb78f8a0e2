"""Headers: every reason has a file that produces it, damage never raises, and nothing leaks."""

import logging
import math
import struct
import warnings

import numpy as np
import pytest
from dicom_files import dataset, frames_of, header_of, image_of, mr_bytes, mr_header, ramp, to_bytes
from pydicom.uid import ImplicitVRLittleEndian

from mricore.imaging.headers import FrameHeader
from mricore.imaging.pixels import UnreadablePixelsError
from mricore.records import Reason

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ENHANCED_MR_COLOR = "1.2.840.10008.5.1.4.1.1.4.3"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def with_private(group, creator, element, vr, value, **attributes):
    image = dataset(**attributes)
    image.private_block(group, creator, create=True).add_new(element, vr, value)
    return image


REFUSED = {
    "no DICOM at all": (Reason.NOT_DICOM, lambda: b"PK\x03\x04 this is a zip" * 20),
    "an empty file": (Reason.NOT_DICOM, lambda: b""),
    "no series UID": (Reason.UNREADABLE_HEADER, lambda: mr_bytes(SeriesInstanceUID=None)),
    "slope zero": (Reason.UNREADABLE_HEADER, lambda: mr_bytes(RescaleSlope=0, RescaleIntercept=0)),
    "cut inside the header": (Reason.UNREADABLE_HEADER, lambda: mr_bytes()[:500]),
    "CT": (Reason.NOT_MR, lambda: mr_bytes(SOPClassUID=CT_IMAGE, Modality="CT")),
    "a CT object that says MR": (Reason.NOT_MR, lambda: mr_bytes(SOPClassUID=CT_IMAGE)),
    "an MR object that says CT": (Reason.NOT_MR, lambda: mr_bytes(Modality="CT")),
    "no pixel data": (Reason.NO_PIXELS, lambda: mr_bytes(PixelData=None)),
    "empty pixel data": (Reason.NO_PIXELS, lambda: mr_bytes(PixelData=b"")),
    "no rows": (Reason.NO_PIXELS, lambda: mr_bytes(Rows=0)),
    "no position": (Reason.NO_GEOMETRY, lambda: mr_bytes(ImagePositionPatient=None)),
    "no orientation": (Reason.NO_GEOMETRY, lambda: mr_bytes(ImageOrientationPatient=None)),
    "no spacing": (Reason.NO_GEOMETRY, lambda: mr_bytes(PixelSpacing=None)),
    "zero spacing": (Reason.NO_GEOMETRY, lambda: mr_bytes(PixelSpacing=[0, 1])),
    "parallel axes": (Reason.NO_GEOMETRY, lambda: mr_bytes(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
    "long axes": (Reason.NO_GEOMETRY, lambda: mr_bytes(ImageOrientationPatient=[2, 0, 0, 0, 1, 0])),
    "a place outside the world": (Reason.NO_GEOMETRY, lambda: mr_bytes(ImagePositionPatient=[1e9, 0, 0])),
    "several frames without places": (Reason.NO_GEOMETRY, lambda: mr_bytes(NumberOfFrames=3)),
    "an enhanced object without functional groups": (
        Reason.NO_GEOMETRY,
        lambda: mr_bytes(SOPClassUID=ENHANCED_MR, NumberOfFrames=3),
    ),
    "an enhanced object in colour": (Reason.NOT_GRAYSCALE, lambda: mr_bytes(SOPClassUID=ENHANCED_MR_COLOR)),
    "more frames than there can be": (Reason.UNREADABLE_HEADER, lambda: mr_bytes(NumberOfFrames=100_001)),
    "fewer frames than none": (Reason.UNREADABLE_HEADER, lambda: mr_bytes(NumberOfFrames=-1)),
    "impossible bits": (Reason.UNREADABLE_HEADER, lambda: mr_bytes(bits=17)),
    "a mosaic of unknown tiles": (
        Reason.MOSAIC,
        lambda: mr_bytes(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
    ),
    "three samples": (Reason.NOT_GRAYSCALE, lambda: mr_bytes(SamplesPerPixel=3)),
    "palette": (Reason.NOT_GRAYSCALE, lambda: mr_bytes(PhotometricInterpretation="PALETTE COLOR")),
    "32 bits": (Reason.BIT_DEPTH, lambda: mr_bytes(BitsAllocated=32)),
    "1 bit": (Reason.BIT_DEPTH, lambda: mr_bytes(BitsAllocated=1)),
    "burned in": (Reason.BURNED_IN_ANNOTATION, lambda: mr_bytes(BurnedInAnnotation="YES")),
    "a workstation's picture": (Reason.SCREENSHOT, lambda: mr_bytes(ConversionType="WSD")),
    "scanned paper": (Reason.SCREENSHOT, lambda: mr_bytes(ConversionType="SD")),
    "a saved screen": (
        Reason.SCREENSHOT,
        lambda: mr_bytes(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]),
    ),
    "a screenshot": (Reason.SCREENSHOT, lambda: mr_bytes(ImageType=["DERIVED", "SECONDARY", "SCREENSHOT"])),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_slice_is_refused_for_its_reason(case):
    reason, content = REFUSED[case]
    assert header_of(content()) is reason


PASSES = {
    "no modality but an MR object": {"Modality": None},
    "pixels that are not burned in": {"BurnedInAnnotation": "NO"},
    "no number of frames but zero": {"NumberOfFrames": 0},
    "an 8-bit image": {"pixels": ramp(top=255).astype(np.uint8)},
}


@pytest.mark.parametrize("case", PASSES)
def test_an_ordinary_image_passes(case):
    assert isinstance(mr_header(**PASSES[case]), FrameHeader)


def test_every_reason_of_a_single_file_has_a_case_here():
    covered = {reason for reason, _ in REFUSED.values()}
    expected = "not_dicom unreadable_header not_mr no_pixels no_geometry mosaic not_grayscale "
    expected += "bit_depth burned_in_annotation screenshot"
    assert covered == {Reason(code) for code in expected.split()}


def test_a_header_is_read_into_plain_values():
    header = mr_header(
        uri="s3://x/y",
        ImagePositionPatient=[-10.5, 20, 3],
        PixelSpacing=[0.7, 0.6],
        RescaleSlope=2,
        RescaleIntercept=-5,
        EchoNumbers=2,
        InversionTime=None,
        TriggerTime=32.5,
        AccessionNumber="A1",
    )
    assert (header.uri, header.frame, header.rows, header.columns) == ("s3://x/y", 0, 64, 64)
    assert header.position == (-10.5, 20.0, 3.0)
    assert header.spacing == (0.7, 0.6)
    assert (header.slope, header.intercept, header.echo_number) == (2.0, -5.0, 2)
    assert (header.repetition_time, header.echo_time, header.trigger_time) == (500.0, 10.0, 32.5)
    assert math.isnan(header.inversion_time)
    assert math.isnan(header.b_value)
    assert header.image_type == ("ORIGINAL", "PRIMARY", "M")
    assert (header.accession, header.stack, header.padding) == ("A1", "", None)
    assert (header.instance_number, header.acquisition_number) == (1, 1)


def test_a_field_in_gauss_becomes_tesla():
    assert mr_header(MagneticFieldStrength=15000).field_strength == 1.5
    assert mr_header(MagneticFieldStrength=3).field_strength == 3.0


def test_a_file_without_preamble_is_read():
    content = mr_bytes()
    assert header_of(content[132:]).sop_uid == header_of(content).sop_uid


@pytest.mark.parametrize(
    ("private", "expected"),
    [
        ((0x0019, "SIEMENS MR HEADER", 0x0C, "IS", 800), 800),
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", [1000000600, 8, 0, 0]), 600),
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", [0, 8, 0, 0]), 0),
        ((0x0065, "Image Private Header", 0x0A, "FD", 1000.0), 1000.0),
        ((0x0065, "Somebody else", 0x0A, "FD", 1000.0), math.nan),
        ((0x2001, "Philips Imaging DD 001", 0x03, "FL", 1000.0), 1000),
        ((0x2001, "PHILIPS IMAGING DD 001", 0x03, "FL", 50.0), 50),
    ],
)
def test_the_private_b_value_of_a_vendor_is_found(private, expected):
    assert header_of(to_bytes(with_private(*private))).b_value == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("private", "expected"),
    [
        ((0x0019, "SIEMENS MR HEADER", 0x0C, "IS", 800), 800),
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", [1000000600, 8, 0, 0]), 600),
        ((0x2001, "Philips Imaging DD 001", 0x03, "FL", 1000.0), 1000),
        ((0x2001, "Philips Imaging DD 001", 0x03, "UN", struct.pack("<f", 700.0)), 700),
        ((0x0019, "SIEMENS MR HEADER", 0x0C, "UN", b"400 "), 400),
    ],
)
def test_a_private_b_value_survives_implicit_vr(private, expected):
    image = with_private(*private, syntax=ImplicitVRLittleEndian)
    assert header_of(to_bytes(image)).b_value == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("*ep_b800t", 800), ("ep_b0", 0), ("*ep_b1000#1", 1000), ("*tse2d1_7", math.nan), ("*ep_b", math.nan)],
)
def test_siemens_tells_the_b_value_in_the_name_of_the_sequence(name, expected):
    """All that is left of it where private attributes were removed."""
    assert mr_header(SequenceName=name).b_value == pytest.approx(expected, nan_ok=True)
    assert mr_header(SequenceName=name, DiffusionBValue=50.0).b_value == 50


def test_the_standard_b_value_comes_first_and_nonsense_counts_as_missing():
    both = with_private(0x0019, "SIEMENS MR HEADER", 0x0C, "IS", 800, DiffusionBValue=500.0)
    assert header_of(to_bytes(both)).b_value == 500
    assert math.isnan(mr_header(DiffusionBValue=-3.0).b_value)
    assert math.isnan(mr_header(DiffusionBValue=5e8).b_value)


@pytest.mark.parametrize("blank", [None, "", "   "])
def test_a_blank_patient_id_does_not_merge_strangers(blank):
    one = mr_header(PatientID=blank, StudyInstanceUID="1.1")
    other = mr_header(PatientID=blank, StudyInstanceUID="1.2")
    again = mr_header(PatientID=blank, StudyInstanceUID="1.1")
    assert one.patient_key != other.patient_key
    assert one.patient_key == again.patient_key


def test_the_same_id_from_two_issuers_is_two_patients():
    keys = {mr_header(PatientID="7", IssuerOfPatientID=issuer).patient_key for issuer in ("A", "B", None)}
    assert len(keys) == 3


def test_a_patient_keeps_the_key_across_studies():
    assert mr_header(StudyInstanceUID="1.1").patient_key == mr_header(StudyInstanceUID="1.2").patient_key


PLANTED = ("ZORBLATT", "PID7731905", "9.87.6543.21", "FREETEXTSECRET", "XYLOPHONIA", "19471103")


def planted(**overrides):
    return dataset(
        PatientName="ZORBLATT^QUENTINA",
        PatientID="PID7731905",
        PatientBirthDate="19471103",
        InstitutionName="XYLOPHONIA GENERAL",
        StudyDescription="FREETEXTSECRET",
        StudyInstanceUID="9.87.6543.21",
        SeriesInstanceUID="9.87.6543.21.1",
        **overrides,
    )


def spoiled(content, number):
    """Planted files whose values break the rules of their VR or whose pixels do not decode."""
    if number == 0:
        return content
    if number == 1:
        return content.replace(b"1.2.840.10008.1.2.1\0", b"9.87.6543.21\0\0\0\0\0\0\0\0")
    if number == 2:
        return content.replace(b"19471103", b"ZORBLATT")
    if number == 3:
        return content[:-100]
    if number == 4:
        return content.replace(b"DA\x08\x00", b"DS\x08\x00").replace(b"500 ", b"ZORB")
    return content[: content.index(b"FREETEXT") + 5]


@pytest.mark.parametrize("number", range(6))
def test_identifiers_reach_neither_repr_nor_errors_nor_logs_nor_warnings(number, caplog, capfd):
    content = spoiled(to_bytes(planted()), number)
    caplog.set_level(logging.DEBUG)
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = frames_of(content, "ZORBLATT.dcm")
        said.append(repr(found) + str(found))
        try:
            image_of(content)
        except UnreadablePixelsError as error:
            chain = (error, error.__cause__, error.__context__)
            said += [repr(one) + str(one) for one in chain]
            assert error.__cause__ is None
            assert error.__context__ is None
    said += [str(one.message) for one in caught]
    said += [caplog.text, *capfd.readouterr()]
    for secret in PLANTED:
        assert secret not in "\n".join(said)


def test_reading_leaves_warnings_and_loggers_as_they_were():
    before = (list(warnings.filters), logging.getLogger("pydicom").level)
    for number in range(6):
        frames_of(spoiled(to_bytes(planted()), number))
    assert (list(warnings.filters), logging.getLogger("pydicom").level) == before


@pytest.mark.parametrize(
    ("attribute", "wrong", "field"),
    [
        ("MagneticFieldStrength", "19471103", "field_strength"),
        ("EchoTime", "7731905", "echo_time"),
        ("RepetitionTime", "5550123", "repetition_time"),
        ("FlipAngle", "1947", "flip_angle"),
        ("TriggerTime", "19471103", "trigger_time"),
    ],
)
def test_a_number_that_is_no_physics_is_missing(attribute, wrong, field):
    """It may be an identifier that somebody typed into the wrong field."""
    assert math.isnan(getattr(mr_header(**{attribute: wrong}), field))
