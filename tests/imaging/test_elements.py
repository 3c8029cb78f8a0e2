"""Places of attributes: where pydicom finds them in every file at hand, and bounds for what no file needs."""

import io
import struct
import tracemalloc
import warnings
from pathlib import Path

import pydicom
import pytest
from dicom_files import dataset, to_bytes
from enhanced_files import enhanced, item, with_undefined_lengths
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mricore.imaging.elements import MAX_ELEMENTS, UNDEFINED, Elements, Reader
from mricore.imaging.files import NotDicomError, open_dicom

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
SEQUENCE = 0x00081140


def values(elements):
    """Bytes by path of tags and items, of all that pydicom has not decoded."""
    found = {}
    for tag in elements.keys():  # noqa: SIM118 - a dataset iterates over decoded values
        raw = elements.get_item(tag)
        if tag.group in (2, 0xFFFC):
            continue
        vr = raw.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "UN")
        if vr == "SQ":
            for number, one in enumerate(elements[tag].value):
                found.update({(int(tag), number, *path): value for path, value in values(one).items()})
        elif isinstance(raw, RawDataElement):
            found[int(tag),] = raw.value or b""
    return found


def value_at(elements, path):
    tag, *rest = path
    if not rest:
        return elements.raw(tag) if tag in elements else None
    return value_at(list(elements.items(tag))[rest[0]], rest[1:])


def number_of_equal_values(path):
    """Compares them with ours; None if it is no DICOM with a preamble."""
    content = path.read_bytes()
    if content[128:132] != b"DICM":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = values(pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True))
    header = open_dicom(io.BytesIO(content)).header
    for place, value in expected.items():
        assert value_at(header, place) == value, (path.name, [f"{part:x}" for part in place])
    return len(expected)


FILES = sorted(path.name for path in TEST_FILES.glob("*.dcm") if path.name != "rtplan_truncated.dcm")


@pytest.mark.parametrize("name", FILES)
def test_values_are_those_that_pydicom_finds_in_its_own_files(name):
    number_of_equal_values(TEST_FILES / name)


@pytest.mark.real_data
def test_values_are_those_that_pydicom_finds_in_real_files(real_data):
    folders = [folder for name in ("dicom", "dicom_edge_cases") for folder in (real_data / name).iterdir()]
    firsts = [min(folder.iterdir()) for folder in folders if folder.is_dir()]
    files = [
        path for first in firsts for path in ([first] if first.is_file() else sorted(first.iterdir())[:1])
    ]
    counts = [number_of_equal_values(path) for path in files]
    assert len(counts) >= 10 and min(counts) > 50


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("form", [lambda image: image, with_undefined_lengths])
def test_nested_sequences(syntax, form):
    image = dataset(syntax=syntax)
    image.ReferencedImageSequence = [
        item(
            {"PurposeOfReferenceCodeSequence": [{"CodeValue": "1"}, {"CodeValue": "2", "CodeMeaning": "two"}]}
        ),
        item({"ReferencedSOPInstanceUID": "1.2"}),
    ]
    header = open_dicom(io.BytesIO(to_bytes(form(image)))).header
    first, second = header.items(SEQUENCE)
    codes = list(first.items(0x0040A170))
    assert [code.raw(0x00080100) for code in codes] == [b"1 ", b"2 "]
    assert codes[1].raw(0x00080104) == b"two "
    assert second.raw(0x00081155) == b"1.2\0"
    assert 0x00080060 in header


def head(tag, vr=b"", length=0):
    if vr:
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, length)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)


def long_head(tag, vr, length):
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length)


ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


def explicit(content):
    return Reader(content, explicit=True, little=True)


def test_implicit_attributes_among_explicit_ones_are_told_apart():
    content = head(0x00100010, b"PN", 2) + b"A " + head(0x00100020, length=4) + b"1234"
    places, _ = explicit(content).scan(0, len(content))
    assert places == {0x00100010: (b"PN", 8, 10), 0x00100020: (b"", 18, 22)}


def test_the_length_of_an_item_is_not_taken_for_a_representation():
    """0x5355 would read as the letters US."""
    inside = head(0x00100010, b"PN", 0x5355 - 8) + bytes(0x5355 - 8)
    content = head(ITEM, length=len(inside)) + inside
    assert content[4:6] == b"US"
    assert len(list(explicit(content).items((b"SQ", 0, len(content))))) == 1


def test_encapsulated_pixels_inside_a_sequence_of_undefined_length_are_passed():
    icon = long_head(0x7FE00010, b"OB", UNDEFINED) + head(ITEM) + head(ITEM, length=2) + b"\1\2"
    icon += head(SEQUENCE_END)
    content = long_head(0x00880200, b"SQ", UNDEFINED) + head(ITEM, length=UNDEFINED) + icon
    content += head(ITEM_END) + head(SEQUENCE_END) + head(0x00100010, b"PN", 2) + b"A "
    places, end = explicit(content).scan(0, len(content))
    assert set(places) == {0x00880200, 0x00100010} and end == len(content)


@pytest.mark.parametrize(
    "cut",
    [
        head(0x00100010, b"PN", 100) + b"A",
        long_head(SEQUENCE, b"SQ", UNDEFINED) + head(ITEM, length=UNDEFINED),
        long_head(SEQUENCE, b"SQ", UNDEFINED) + head(ITEM, length=0xFFFFFFF0) + bytes(20),
        long_head(SEQUENCE, b"SQ", 8)[:8],
    ],
)
def test_what_is_cut_is_an_error(cut):
    with pytest.raises((EOFError, struct.error)):
        explicit(cut).scan(0, len(cut))


def test_an_item_longer_than_its_sequence_is_an_error():
    content = head(ITEM, length=100) + bytes(50)
    with pytest.raises(EOFError):
        list(explicit(content).items((b"SQ", 0, len(content))))


def test_a_flood_of_attributes_is_refused_before_it_fills_the_memory():
    content = b"".join(head(0x00110000 + number, b"LO") for number in range(MAX_ELEMENTS + 1))
    with pytest.raises(ValueError, match="too many"):
        explicit(content).scan(0, len(content))


def test_the_same_bytes_are_not_passed_again_and_again():
    deep = b"".join(
        long_head(SEQUENCE, b"SQ", UNDEFINED) + head(ITEM, length=UNDEFINED) for _ in range(60_000)
    )
    content = deep + (head(ITEM_END) + head(SEQUENCE_END)) * 60_000
    elements = Elements(explicit(content), explicit(content).scan(0, len(content))[0])
    depth = 0
    with pytest.raises(ValueError, match="does not end"):
        while True:
            elements = next(elements.items(SEQUENCE))
            depth += 1
    assert 2 < depth < 20


def test_items_cost_memory_one_at_a_time():
    content = long_head(SEQUENCE, b"SQ", UNDEFINED) + head(ITEM) * 20_000 + head(SEQUENCE_END)
    tracemalloc.start()
    elements = Elements(explicit(content), explicit(content).scan(0, len(content))[0])
    assert sum(1 for _ in elements.items(SEQUENCE)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(content) / 4


def test_attributes_over_others_fill_gaps_and_empty_values():
    image = enhanced(PatientID="P7", StudyDescription="")
    header = open_dicom(io.BytesIO(to_bytes(image))).header
    shared = next(header.items(0x52009229)).first_items((0x00289110, 0x00209116))
    both = shared.over(header)
    assert both.raw(0x00280030) == b"1.0\\1.0 " and both.raw(0x00100020) == b"P7"
    assert 0x00280030 not in header
    assert set(shared.only(lambda tag: tag >> 16 == 0x0018).tags) == {0x00180050}


def test_private_attributes_are_found_by_creator_in_any_block():
    image = dataset()
    for creator, value in (("OTHER", 1), ("SIEMENS MR HEADER", 36)):
        image.private_block(0x0019, creator, create=True).add_new(0x0A, "US", value)
    header = open_dicom(io.BytesIO(to_bytes(image))).header
    assert header.private(0x0019, "SIEMENS MR HEADER", 0x0A) == 0x0019110A
    assert header.private(0x0019, "SIEMENS MR HEADER", 0x0B) == 0x0019110B
    assert header.private(0x0019, "NOBODY", 0x0A) is None
    assert header.raw(0x0019110A) == struct.pack("<H", 36)


def test_not_every_file_is_dicom():
    with pytest.raises(NotDicomError):
        open_dicom(io.BytesIO(b"PK" * 200))
