"""Exclusions: each reason has images that earn it, and names that only sound like one do not."""

import math
from dataclasses import replace

import pytest
from dicom_files import frames_of, header_of, mr_header, ramp, to_bytes
from enhanced_files import enhanced, stack

from mricore.config.curation import Curation
from mricore.imaging.exclusions import frame_reason
from mricore.records import Reason

POLICY = Curation()
PLAIN = mr_header()


def names(text):
    return [name.strip() for line in text.strip().splitlines() for name in line.split(" | ")]


def by_name(name, **changes):
    return frame_reason(replace(PLAIN, series_description=name, **changes), POLICY)


LEFT_OUT = {
    "a localizer by ImageType": (Reason.LOCALIZER, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    "a localizer by name": (Reason.LOCALIZER, {"SeriesDescription": "3-plane localizer"}),
    "a scout by protocol": (Reason.LOCALIZER, {"ProtocolName": "AAScout scout"}),
    "a survey": (Reason.LOCALIZER, {"SeriesDescription": "Survey_SHC"}),
    "a projection": (Reason.DERIVED, {"ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE"]}),
    "a projection called original": (Reason.DERIVED, {"ImageType": ["ORIGINAL", "PRIMARY", "MIP"]}),
    "a diffusion map": (Reason.DERIVED, {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}),
    "a calculated b-value": (Reason.DERIVED, {"ImageType": ["DERIVED", "PRIMARY", "M", "CALC_BVALUE"]}),
    "a difference": (Reason.DERIVED, {"ImageType": ["DERIVED", "PRIMARY", "M", "SUB"]}),
    "a parametric map": (Reason.DERIVED, {"ImageType": ["DERIVED", "PRIMARY", "T2 MAP"]}),
    "a map of the field": (Reason.DERIVED, {"ImageType": ["ORIGINAL", "PRIMARY", "B0 MAP"]}),
    "a reformat": (Reason.DERIVED, {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
    "a map without a series name": (Reason.DERIVED, {"SeriesDescription": None, "ProtocolName": "ADC"}),
    "a phantom series": (Reason.PHANTOM, {"SeriesDescription": "ACR phantom T1"}),
    "a phantom study": (Reason.PHANTOM, {"StudyDescription": "QA^Phantom"}),
    "a phantom body part": (Reason.PHANTOM, {"BodyPartExamined": "PHANTOM"}),
    "a small image": (Reason.TOO_SMALL, {"pixels": ramp(64, 63)}),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_an_image_that_the_policy_does_not_want_is_left_out_for_its_reason(case):
    reason, attributes = LEFT_OUT[case]
    assert frame_reason(mr_header(**attributes), POLICY) is reason


PASSES = {
    "an ordinary image": {},
    "derived and secondary alone": {"ImageType": ["DERIVED", "SECONDARY"]},
    "derived and secondary with a component": {"ImageType": ["DERIVED", "SECONDARY", "M", "ND"]},
    "an oblique acquisition of GE": {"ImageType": ["ORIGINAL", "PRIMARY", "MPR"]},
    "a trace-weighted image": {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"]},
    "no image type": {"ImageType": None},
    "a patient called Phantom": {"PatientName": "Phantom^Peter", "PatientID": "PHANTOM-1"},
    "phantom pain": {"StudyDescription": "phantom limb pain"},
    "words that only contain loc": {"SeriesDescription": "t1 block velocity"},
    "a protocol that also yields maps": {"SeriesDescription": "ep2d_diff", "ProtocolName": "DWI + ADC"},
    "the smallest size": {"pixels": ramp(64, 64)},
}


@pytest.mark.parametrize("case", PASSES)
def test_an_ordinary_image_passes(case):
    assert frame_reason(mr_header(**PASSES[case]), POLICY) is None


LOCALIZERS = """
    Scouts | LOCALIZERS2 | Lokalizer | Lokalizator | localizador cor+sag+axial | Localisateur | repérage
    Übersicht | Topogramme | 3-plane loc | 3Plane Nav | 3-pl T2* FGRE | Scano L-Spine_SAG | Localization
    AAHead_Scout_MPR_cor | FastView | TFE 3 PLANE PILOT | SmartBreast | PosDisp: t2 VIBE -pre | SURV dev full
"""
CALIBRATIONS = """
    Calibration Scan | ASSET cal | Cal HD Breast | CAL | Ref scan | SENSE ref | Coil survey | B1map
    FieldMap: T2fseidealarc | Bloch-Siegert_FA500 | Test_Bolus_axial | CareBolus_cor | Timing run
    3D_BOLUSTRAK | MRA_RENALS_TEST_DOS
"""


@pytest.mark.parametrize("name", names(LOCALIZERS) + names(CALIBRATIONS))
def test_a_localizer_or_calibration_is_known_by_its_name(name):
    assert by_name(name) is Reason.LOCALIZER
    assert frame_reason(replace(PLAIN, protocol_name=name), POLICY) is Reason.LOCALIZER


COMPUTED = """
    ADC map | ep2d_diff_ADC | dADC | Apparent Diffusion Coefficient (mm2/s) | ep2d-4bval_std_CALC_BVAL
    ep2d_diff_tra_DYNDISTCALC_BVAL | ep2d_diff_b50_800_EXP | dSSh_DWI SENSE | eDIFUSAO 5mm | SLOPE RT 2
    Dynamic-3dfgre: SER | Dynamic-3dfgre: PE6 | t1_fl3d_tra fs_dyn CM_PEI | ep2d_diff_mddw_FA
    MIP cor | combined MIPs | t1_fl3d_dyn_SUB_MIP_TRA | mIP_Images(SW) | PJN | BREAST TUMBLE | MRCP ROTATE
    Subtraction 1 | t1_vibe_SUB | sSUB dyn_eTHRIVE | Subtract_S4_S3 | LEFTSUB_1 | sSUBTRACAO AXI
    (15410/3/1)-(15410/2/1) | (15410/3/1)+(15410/3/1) | (15410/3/1..60) - (15410/2/1..60)
    SAG MPR | <MPR Range> | Reformatted | SAG REFORM | COR CPR | MPRSeries2
    Registered Ax T2 FSE | Aligned_T1toPET_BOX | t1 axial: Processed_CaPTk | CAD~ Axial
    DWI TRACE: from S4: bVals=0
"""


@pytest.mark.parametrize("name", names(COMPUTED))
def test_a_computed_series_is_known_by_its_name(name):
    assert by_name(name) is Reason.DERIVED


@pytest.mark.parametrize("name", ["Screen Save", "Key Images", "Summary Series"])
def test_a_screenshot_is_known_by_its_name(name):
    assert by_name(name) is Reason.SCREENSHOT


ACQUIRED = """
    multi-flip_T1-map | T1 MAPPING MOLLI | T2 map | AX Sen Vibrant MASK | Axial-Bilat/Dwssfse Tensor
    GREAST (label) | t1_mpr_tra_gk | t1_mpr_ns_sag post gad | AX eDWI b800 | AX VIBE DIXON COMPOSED
    ep2d_diff_b50_400_TRACEW | Ax DWI | AX T1 W/ FLOW COMP | T2 Sag Cube 3D reform ax& obl | PE2 post
    tfl_3d PD ref_tra | NEW HASTE CORONAL BH (acr) | SAG SUBOPTIMAL repeat | cadaver knee | T2 FA 130
    surveillance liver | AX T2 POSTERIOR | T1 PLANE | 13 planes
"""


@pytest.mark.parametrize("name", names(ACQUIRED))
def test_an_acquisition_is_not_left_out_for_a_word_of_its_name(name):
    assert by_name(name) is None


ORIGINAL, DERIVED = ("ORIGINAL", "PRIMARY", "OTHER"), ("DERIVED", "SECONDARY", "OTHER")
SCANS_WITH_MAPS = ["DWI_ADC", "ep2d_diff_ADC", "DTI dADC", "ADC b-values: DWI"]


@pytest.mark.parametrize("name", SCANS_WITH_MAPS)
def test_diffusion_images_in_a_series_named_after_its_map_are_kept(name):
    for b_value in (0.0, 800.0):
        assert by_name(name, b_value=b_value, image_type=ORIGINAL) is None
        assert by_name(name, b_value=b_value, image_type=DERIVED) is Reason.DERIVED
        assert by_name(name, b_value=b_value, image_type=("ORIGINAL", "PRIMARY", "ADC")) is Reason.DERIVED
    assert by_name(name, b_value=math.nan, image_type=ORIGINAL) is Reason.DERIVED


@pytest.mark.parametrize(
    "name",
    [
        *("Ax T1 SUB", "Subtraction MIP", "ADC (10^-6 mm/s)", "FSPGR MPR", "(15410/3/1)-(15410/2/1)"),
        *("Apparent Diffusion Coefficient (mm2/s)", "DWI TRACE: from S4: bVals=0", "MIP DWI", "DWI ADC MPR"),
    ],
)
def test_a_b_value_of_zero_does_not_make_a_computed_series_an_acquisition(name):
    assert by_name(name, b_value=0.0, image_type=ORIGINAL) is Reason.DERIVED
    assert by_name(name, b_value=50.0, image_type=ORIGINAL) is None


@pytest.mark.real_data
def test_a_computed_series_of_a_scanner_that_always_writes_a_b_value_is_known(real_data):
    path = min((real_data / "dicom_edge_cases" / "mr_phantom_ge").iterdir())
    header = header_of(path.read_bytes())
    assert (header.image_type[0], header.b_value) == ("ORIGINAL", 0.0)
    assert frame_reason(replace(header, series_description="Ax T1"), POLICY) is not Reason.DERIVED
    assert frame_reason(replace(header, series_description="Ax T1 SUB"), POLICY) is Reason.DERIVED


CONTRASTS = """
    ADDITION | DIFFERENCE | DIVISION | MAXIMUM | MEAN | MEDIAN | MINIMUM | MULTIPLICATION | QUANTITY
    RESAMPLED | STD_DEVIATION | SUBTRACTION
"""
"""What the standard calls computed pixels in the fourth value of an Enhanced object's FrameType."""


@pytest.mark.parametrize("contrast", names(CONTRASTS))
def test_a_derived_frame_is_computed_as_its_contrast_says(contrast):
    assert reason_of_frame("DERIVED", "PRIMARY", "T1", contrast) is Reason.DERIVED
    assert reason_of_frame("DERIVED", "PRIMARY", contrast, "NONE") is Reason.DERIVED


@pytest.mark.parametrize("flavor", ["MAX_IP", "MIN_IP"])
def test_a_projection_is_computed_whatever_the_first_value_says(flavor):
    for first in ("ORIGINAL", "DERIVED"):
        assert reason_of_frame(first, "PRIMARY", flavor, "NONE") is Reason.DERIVED


@pytest.mark.parametrize("frame_type", ["DERIVED T1 NONE", "MIXED T1 MEAN", "ORIGINAL T1 ADDITION"])
def test_a_frame_that_need_not_be_computed_passes(frame_type):
    first, flavor, contrast = frame_type.split()
    assert reason_of_frame(first, "PRIMARY", flavor, contrast) is None


def reason_of_frame(*frame_type):
    """What is said against the frames of an Enhanced object of a type."""
    image = enhanced(stack(1, 64, 64), ImageType=list(frame_type))
    (header,) = frames_of(to_bytes(image))
    return frame_reason(header, POLICY)
