"""Single attributes: the values that pydicom would give, in every encoding, and nothing for nonsense."""

import io
import math

import pydicom
import pytest
from dicom_files import dataset, to_bytes
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mricore.imaging.attributes import LONGEST_TEXT, integer, number, numbers, private_number, text, words
from mricore.imaging.files import open_dicom

PLAIN = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def header(content):
    return open_dicom(io.BytesIO(content)).header


def with_bytes(keyword, old, new):
    """A header in which the bytes of a value are replaced by as many others."""
    content = to_bytes(dataset(**{keyword: old}))
    assert len(old) == len(new) and content.count(old.encode()) == 1
    return header(content.replace(old.encode(), new))


@pytest.mark.parametrize("syntax", PLAIN)
def test_values_of_every_representation_are_read(syntax):
    image = dataset(
        syntax=syntax,
        PixelPaddingValue=None,
        EffectiveEchoTime=12.5,
        DiffusionBValue=800.0,
        EchoNumbers=[2, 3],
        InStackPositionNumber=70000,
        SmallestImagePixelValue=7,
        ImagePositionPatient=["-1.5", "2e1", "3"],
        StudyComments="free text ",
    )
    found = header(to_bytes(image))
    assert (number(found, "EffectiveEchoTime"), number(found, "DiffusionBValue")) == (12.5, 800.0)
    assert (integer(found, "EchoNumbers"), integer(found, "InStackPositionNumber")) == (2, 70000)
    assert numbers(found, "ImagePositionPatient") == (-1.5, 20.0, 3.0)
    assert integer(found, "SmallestImagePixelValue") == 7
    assert words(found, "ImageType") == ("ORIGINAL", "PRIMARY", "M")
    assert (text(found, "StudyComments"), text(found, "PatientID")) == ("free text", "P1")


def test_what_is_missing_is_empty():
    found = header(to_bytes(dataset(EchoTime="", ImageType=None)))
    assert (text(found, "StudyComments"), words(found, "ImageType")) == ("", ())
    assert math.isnan(number(found, "EchoTime")) and math.isnan(number(found, "InversionTime"))
    assert numbers(found, "PixelAspectRatio") == () and integer(found, "EchoNumbers") is None


@pytest.mark.parametrize("nonsense", [b"abcd", b"nan ", b"inf ", b"1,5 ", b"--1 ", b"\0\0\0\0"])
def test_a_number_that_is_none_is_missing(nonsense):
    assert math.isnan(number(with_bytes("EchoTime", "12.5", nonsense), "EchoTime"))


@pytest.mark.parametrize("nonsense", [b"1.25\\x ", b"1.25\\  ", b"1.25\\inf"])
def test_several_numbers_are_missing_if_one_is(nonsense):
    old = "1.25\\1.7"[: len(nonsense)]
    image = dataset(PixelSpacing=old.split("\\"))
    content = to_bytes(image)
    spoiled = content.replace(old.encode() + b" " * (len(old) % 2), nonsense + b" " * (len(nonsense) % 2))
    assert numbers(header(spoiled), "PixelSpacing") == ()


@pytest.mark.parametrize(("value", "expected"), [("2147483647", 2**31 - 1), ("2147483648", None)])
def test_an_integer_beyond_its_representation_is_missing(value, expected):
    assert (
        integer(with_bytes("AcquisitionNumber", "2147483647", value.encode()), "AcquisitionNumber")
        == expected
    )


@pytest.mark.parametrize(
    ("charset", "value"),
    [
        ("ISO_IR 100", "Hüfte à gauche"),
        ("ISO_IR 144", "колено"),
        ("ISO_IR 192", "膝 genou Knöchel"),
        ("GB18030", "膝关节"),
        (["", "ISO 2022 IR 87"], "膝 right"),
        (["", "ISO 2022 IR 149"], "무릎"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_texts_in_all_kinds_of_character_sets(charset, value, nested):
    image = dataset(SpecificCharacterSet=charset, StudyDescription=value)
    if nested:
        image.RequestAttributesSequence = [pydicom.Dataset()]
        image.RequestAttributesSequence[0].RequestedProcedureDescription = value
    found = header(to_bytes(image))
    assert text(found, "StudyDescription") == value
    if nested:
        assert text(next(found.items(0x00400275)), "RequestedProcedureDescription") == value


@pytest.mark.parametrize("charset", [b"zlib_codec", b"NO SUCH 99", b"ISO\0IR 100", b"\0" * 10, b"unicode_es"])
def test_an_unknown_character_set_does_not_hide_the_text(charset):
    image = dataset(SpecificCharacterSet="ISO_IR 100", StudyDescription="Knie für alle")
    content = to_bytes(image).replace(b"ISO_IR 100", charset[:10].ljust(10))
    assert text(header(content), "StudyDescription").startswith("Knie f")


def test_a_long_text_is_cut():
    image = dataset()
    image.add_new(0x00324000, "LT", "ä" * 10_000)
    image.SpecificCharacterSet = "ISO_IR 192"
    assert text(header(to_bytes(image)), "StudyComments") == "ä" * LONGEST_TEXT


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [("IS", "800", 800), ("DS", "7.5", 7.5), ("FL", 1.5, 1.5), ("US", 55, 55), ("IS", ["7", "8"], 7)],
)
def test_a_private_number(syntax, vr, value, expected):
    image = dataset(syntax=syntax)
    image.private_block(0x0019, "MAKER", create=True).add_new(0x0C, vr, value)
    found = header(to_bytes(image))
    assert private_number(found, 0x0019, "MAKER", 0x0C, vr) == expected
    assert math.isnan(private_number(found, 0x0019, "MAKER", 0x0D, vr))
    assert math.isnan(private_number(found, 0x0019, "NOBODY", 0x0C, vr))


def test_what_the_file_states_of_a_private_number_counts_more():
    image = dataset()
    image.private_block(0x0019, "MAKER", create=True).add_new(0x0C, "FD", 2.5)
    assert private_number(header(to_bytes(image)), 0x0019, "MAKER", 0x0C, "IS") == 2.5


def test_a_keyword_that_dicom_does_not_know_is_a_mistake():
    with pytest.raises(KeyError):
        text(header(to_bytes(dataset())), "NoSuchKeyword")
