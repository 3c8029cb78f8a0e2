"""Enhanced objects: an image per frame, with attributes from wherever the file keeps them."""

import math
import struct

import numpy as np
import pytest
from dicom_files import AXIAL, CORONAL, frames_of, header_of, mr_header, pixels_of, stream, to_bytes
from enhanced_files import LEGACY_CONVERTED_MR, at, axial, enhanced, item, stack, with_undefined_lengths
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from mricore.imaging.headers import read_file
from mricore.records import Reason

PLAIN = [
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian),
    *(ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
]
TWO = stack(2)


def two(first, second, shared=None, **attributes):
    """The headers of an object of two frames with these functional groups besides their positions."""
    frames = [at(0, 0, 0, **first), at(0, 0, 3, **second)]
    return frames_of(to_bytes(enhanced(TWO, frames, shared, **attributes)))


def shared_by_two(**groups):
    return two({}, {}, axial(**groups))[0]


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("form", [lambda image: image, with_undefined_lengths])
def test_there_is_a_header_per_frame_in_stored_order(syntax, form):
    image = enhanced(
        per_frame=[at(-7.5, 2, z) for z in (9, 3, 6, 0)],
        syntax=syntax,
        InstanceNumber=3,
        AccessionNumber="A7",
    )
    headers = frames_of(to_bytes(form(image)), "file")
    assert [header.frame for header in headers] == [0, 1, 2, 3]
    assert [header.position for header in headers] == [(-7.5, 2, z) for z in (9.0, 3.0, 6.0, 0.0)]
    assert [header.instance_number for header in headers] == [3_000_000, 3_000_001, 3_000_002, 3_000_003]
    assert {header.orientation for header in headers} == {tuple(map(float, AXIAL))}
    assert {header.spacing for header in headers} == {(1.0, 1.0)}
    assert {(header.rows, header.columns) for header in headers} == {(48, 40)}
    assert {(header.uri, header.sop_uid, header.accession) for header in headers} == {
        ("file", str(image.SOPInstanceUID), "A7")
    }


def test_frames_of_later_files_come_later():
    first, second = (frames_of(to_bytes(enhanced(InstanceNumber=number))) for number in (1, 2))
    assert max(header.instance_number for header in first) < min(header.instance_number for header in second)
    assert [header.instance_number for header in frames_of(to_bytes(enhanced(InstanceNumber=None)))] == [
        0,
        1,
        2,
        3,
    ]


def test_a_frames_own_value_counts_more_than_the_shared_and_that_more_than_the_files():
    orientation = {"PlaneOrientationSequence": {"ImageOrientationPatient": list(CORONAL)}}
    headers = two(orientation, {}, PixelSpacing=[9, 9], SliceThickness=9, FlipAngle=30)
    assert [header.orientation for header in headers] == [
        tuple(map(float, CORONAL)),
        tuple(map(float, AXIAL)),
    ]
    assert {(header.spacing, header.flip_angle) for header in headers} == {((1.0, 1.0), 30.0)}


def test_an_empty_value_gives_way():
    """Empty functional groups, an empty sequence, and an empty attribute."""
    headers = two(
        {"PixelMeasuresSequence": {}, "PlaneOrientationSequence": []},
        {"PixelMeasuresSequence": {"PixelSpacing": None, "SliceThickness": None}},
    )
    assert {header.spacing for header in headers} == {(1.0, 1.0)}


def test_the_place_of_all_frames_may_be_shared():
    """One slice at several times."""
    groups = axial(PlanePositionSequence={"ImagePositionPatient": [1, 2, 3]})
    contents = [{"FrameContentSequence": {"TemporalPositionIndex": k + 1}} for k in range(4)]
    headers = frames_of(to_bytes(enhanced(per_frame=contents, shared=groups)))
    assert {header.position for header in headers} == {(1.0, 2.0, 3.0)}
    assert [header.temporal_position for header in headers] == [1, 2, 3, 4]


def test_a_single_frame_may_keep_everything_in_shared_groups():
    groups = axial(PlanePositionSequence={"ImagePositionPatient": [1, 2, 3]})
    image = enhanced(stack(1), shared=groups, PerFrameFunctionalGroupsSequence=None)
    assert header_of(to_bytes(image)).position == (1.0, 2.0, 3.0)


TIMING = {"MRTimingAndRelatedParametersSequence": {"RepetitionTime": 2500, "FlipAngle": 70}}


@pytest.mark.parametrize(
    ("groups", "field", "value"),
    [
        ({"MREchoSequence": {"EffectiveEchoTime": 12.5}}, "echo_time", 12.5),
        (TIMING, "repetition_time", 2500.0),
        (TIMING, "flip_angle", 70.0),
        ({"MRModifierSequence": {"InversionTimes": [150.0, 900.0]}}, "inversion_time", 150.0),
        ({"MRDiffusionSequence": {"DiffusionBValue": 800.0}}, "b_value", 800.0),
        ({"FrameContentSequence": {"TemporalPositionIndex": 5}}, "temporal_position", 5),
        (
            {"CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 120.5}},
            "trigger_time",
            120.5,
        ),
        ({"FrameContentSequence": {"FrameAcquisitionNumber": 6}}, "acquisition_number", 6),
        ({"FrameContentSequence": {"StackID": "2"}}, "stack", "2"),
        ({"PixelValueTransformationSequence": {"RescaleSlope": 4.5, "RescaleIntercept": -3}}, "slope", 4.5),
        (
            {"PixelValueTransformationSequence": {"RescaleSlope": 4.5, "RescaleIntercept": -3}},
            "intercept",
            -3.0,
        ),
        ({"MRReceiveCoilSequence": {"ReceiveCoilName": "SENSE-Knee-8"}}, "coil", "SENSE-Knee-8"),
        (
            {"FrameAnatomySequence": {"AnatomicRegionSequence": {"CodeMeaning": "Knee"}}},
            "procedures",
            "Knee",
        ),
    ],
)
def test_values_of_functional_groups(groups, field, value):
    """Of all frames, and of one frame."""
    assert getattr(shared_by_two(**groups), field) == value
    own, other = two(groups, {})
    assert getattr(own, field) == value
    assert getattr(other, field) != value


def frame_type(*values, **attributes):
    return {"MRImageFrameTypeSequence": {"FrameType": list(values), **attributes}}


@pytest.mark.parametrize("component", ["MAGNITUDE", "PHASE", "REAL", "IMAGINARY"])
def test_the_type_of_a_frame_names_its_component(component):
    groups = frame_type("ORIGINAL", "PRIMARY", "T1", "NONE", ComplexImageComponent=component)
    own, other = two(groups, {}, ImageType=["ORIGINAL", "PRIMARY", "MIXED", "NONE"])
    assert own.image_type == ("ORIGINAL", "PRIMARY", "T1", "NONE", component)
    assert other.image_type == ("ORIGINAL", "PRIMARY", "MIXED", "NONE")


@pytest.mark.parametrize(
    ("top", "groups", "expected"),
    [
        ({"EchoPulseSequence": "SPIN"}, {}, ("SE",)),
        ({"EchoPulseSequence": "GRADIENT", "EchoPlanarPulseSequence": "YES"}, {}, ("GR", "EP")),
        ({"EchoPulseSequence": "BOTH", "EchoPlanarPulseSequence": "NO"}, {}, ("SE", "GR")),
        ({}, {"MRModifierSequence": {"InversionRecovery": "YES"}}, ("IR",)),
        ({"EchoPulseSequence": "SPIN"}, {"MRModifierSequence": {"InversionRecovery": "NO"}}, ("SE",)),
        ({"ScanningSequence": ["SE", "IR"], "EchoPulseSequence": "SPIN"}, {}, ("SE", "IR")),
        ({}, {}, ()),
    ],
)
def test_the_pulse_sequence_in_the_words_of_classic_images(top, groups, expected):
    assert two({}, {}, axial(**groups), **top)[0].scanning_sequence == expected


def test_dimension_indices_tell_time_and_stack_if_nothing_else_does():
    pointers = (0x00209056, 0x00209057, 0x00209128)
    contents = [
        {"FrameContentSequence": {"DimensionIndexValues": [2, k % 2 + 1, k // 2 + 1]}} for k in range(4)
    ]
    frames = [at(0, 0, 3 * (k % 2), **contents[k]) for k in range(4)]
    image = enhanced(
        per_frame=frames, DimensionIndexSequence=[item({"DimensionIndexPointer": tag}) for tag in pointers]
    )
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        image.file_meta.TransferSyntaxUID = syntax
        headers = frames_of(to_bytes(image))
        assert [header.temporal_position for header in headers] == [1, 1, 2, 2]
        assert {header.stack for header in headers} == {"2"}


def philips(*, classic):
    """A frame with the private classic header of Philips."""
    frame = item(at(0, 0, 0))
    private = item(classic)
    private.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", 1000.0)
    frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", [private])
    return frame


@pytest.mark.parametrize("syntax", PLAIN)
def test_the_private_classic_header_of_philips_fills_gaps_and_no_more(syntax):
    image = enhanced(TWO, [{}, {}], syntax=syntax)
    classic = {"ImagePositionPatient": [5, 5, 5], "ScanningSequence": "GR", "EchoNumbers": 2}
    image.PerFrameFunctionalGroupsSequence = [philips(classic=classic), item(at(0, 0, 3))]
    image.PerFrameFunctionalGroupsSequence[1].update(philips(classic={}))
    first, second = frames_of(to_bytes(image))
    assert (first.position, first.scanning_sequence, first.echo_number) == ((0.0, 0.0, 0.0), ("GR",), 2)
    assert (first.b_value, second.b_value) == (1000.0, 1000.0)
    assert second.scanning_sequence == ()
    image.PerFrameFunctionalGroupsSequence[0].MRDiffusionSequence = [item({"DiffusionBValue": 0.0})]
    assert frames_of(to_bytes(image))[0].b_value == 0.0


def test_a_legacy_converted_object_keeps_classic_attributes_apart():
    frames = [
        at(
            0,
            0,
            3 * k,
            UnassignedPerFrameConvertedAttributesSequence={"EchoTime": 10 + k, "InstanceNumber": 9 - k},
        )
        for k in range(2)
    ]
    common = axial(
        UnassignedSharedConvertedAttributesSequence={"RepetitionTime": 600, "ScanningSequence": "SE"}
    )
    headers = frames_of(to_bytes(enhanced(TWO, frames, common, SOPClassUID=LEGACY_CONVERTED_MR)))
    assert [header.echo_time for header in headers] == [10.0, 11.0]
    assert [header.instance_number for header in headers] == [1_000_000, 1_000_001]
    assert {(header.repetition_time, header.scanning_sequence) for header in headers} == {(600.0, ("SE",))}


def test_frames_without_geometry_are_left_out():
    frames = [at(0, 0, 0), {}, at(0, 0, 6), {"PlanePositionSequence": {}}]
    headers = frames_of(to_bytes(enhanced(per_frame=frames)))
    assert [(header.frame, header.position[2]) for header in headers] == [(0, 0.0), (2, 6.0)]
    content = to_bytes(enhanced(stack(), frames))
    assert np.array_equal(pixels_of(content, [header.frame for header in headers]), stack()[[0, 2]])


NO_SLOPE = {"PixelValueTransformationSequence": {"RescaleSlope": 0, "RescaleIntercept": 0}}


def test_a_frame_whose_intensities_are_lost_costs_no_other():
    frames = [at(0, 0, 0), at(0, 0, 3, **NO_SLOPE), {}, NO_SLOPE]
    found = read_file(stream(enhanced(per_frame=frames)), "file")
    assert ([header.frame for header in found.images], found.refused) == ([0], None)
    assert (found.unplaced, found.unscaled) == (1, 2)


def test_frames_are_no_mosaics_whatever_their_type_says():
    """As some converters leave it; the frames have places of their own."""
    headers = frames_of(to_bytes(enhanced(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])))
    assert [(header.frame, header.rows, header.position[2]) for header in headers] == [
        (k, 48, 3.0 * k) for k in range(4)
    ]


REFUSED = {
    "no frame with geometry": (Reason.NO_GEOMETRY, lambda: enhanced(per_frame=[{}] * 4)),
    "too few functional groups": (Reason.UNREADABLE_HEADER, lambda: enhanced(per_frame=[at(0, 0, 0)] * 3)),
    "too many functional groups": (Reason.UNREADABLE_HEADER, lambda: enhanced(per_frame=[at(0, 0, 0)] * 5)),
    "only shared groups for several frames": (
        Reason.UNREADABLE_HEADER,
        lambda: enhanced(PerFrameFunctionalGroupsSequence=None),
    ),
    "a rescale slope of zero": (
        Reason.UNREADABLE_HEADER,
        lambda: enhanced(shared=axial(**NO_SLOPE)),
    ),
    "a rescale slope of zero wherever there is geometry": (
        Reason.NO_GEOMETRY,
        lambda: enhanced(per_frame=[at(0, 0, 0, **NO_SLOPE), {}, {}, {}]),
    ),
    "burned in": (Reason.BURNED_IN_ANNOTATION, lambda: enhanced(BurnedInAnnotation="YES")),
    "from a workstation": (Reason.SCREENSHOT, lambda: enhanced(ConversionType="WSD")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_object_that_holds_no_images_is_refused_for_its_reason(case):
    reason, image = REFUSED[case]
    assert frames_of(to_bytes(image())) is reason


def test_a_classic_image_is_frame_zero_with_its_own_number():
    header = mr_header(InstanceNumber=17, AcquisitionNumber=4)
    assert (header.frame, header.instance_number, header.acquisition_number) == (0, 17, 4)


def test_missing_values_are_missing():
    header = shared_by_two()
    assert all(
        math.isnan(getattr(header, name))
        for name in (
            *("echo_time", "repetition_time", "inversion_time", "trigger_time"),
            *("flip_angle", "b_value"),
        )
    )
    assert (header.temporal_position, header.stack, header.coil, header.procedures) == (None, "", "", "")
    assert (header.slope, header.intercept) == (1.0, 0.0)


def many(count):
    """An object of so many frames of 8 pixels, put together from bytes since pydicom would take minutes."""
    content = to_bytes(enhanced(stack(1, 1, 8)))
    number, groups, pixels = (
        content.index(struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr))
        for tag, vr in ((0x00280008, b"IS"), (0x52009230, b"SQ"), (0x7FE00010, b"OW"))
    )
    one = content[groups + 12 : pixels]
    header = content[:number] + content[number : number + 6] + struct.pack("<H", 6) + f"{count:<6}".encode()
    sequence = struct.pack("<HH2sHL", 0x5200, 0x9230, b"SQ", 0, len(one) * count) + one * count
    end = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 16 * count) + bytes(16 * count)
    return header + content[number + 10 : groups] + sequence + end


def test_hundred_thousand_frames_are_read_and_one_more_is_refused():
    """Which would not end if a frame cost more the more there are."""
    assert len(frames_of(many(100_000))) == 100_000
    assert frames_of(many(100_001)) is Reason.UNREADABLE_HEADER


@pytest.mark.real_data
def test_real_enhanced_files(real_data):
    """That of Philips, its pixels replaced by noise, has geometry; pydicom's small ones have lost theirs."""
    folder = real_data / "dicom_edge_cases"
    (path,) = (folder / "mr_enhanced_multiframe_noise").iterdir()
    content = path.read_bytes()
    headers = frames_of(content)
    assert [header.frame for header in headers] == list(range(8))
    places = np.array([header.position for header in headers])
    assert np.allclose(np.linalg.norm(np.diff(places, axis=0), axis=1), 1.2, atol=1e-4)
    assert {header.orientation for header in headers} == {(0.0, 1.0, 0.0, 0.0, 0.0, -1.0)}
    assert {(header.echo_time, header.flip_angle, header.b_value) for header in headers} == {
        (3.133, 9.0, 0.0)
    }
    assert {(header.coil, header.procedures, header.stack) for header in headers} == {
        ("SENSE-Head-8", "Brain", "1")
    }
    assert {header.scanning_sequence for header in headers} == {("GR",)}
    assert all(abs(header.slope - 4.25885225885225) < 1e-12 for header in headers)
    images = pixels_of(content, range(8), (256, 256))
    assert len({image.tobytes() for image in images}) == 8
    for small in sorted((folder / "mr_transfer_syntaxes").glob("emri_small*")):
        assert frames_of(small.read_bytes()) is Reason.NO_GEOMETRY
