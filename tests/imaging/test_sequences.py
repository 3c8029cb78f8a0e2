"""Sequences by name and by physics; makers by name, then by model."""

import math
from dataclasses import replace
from itertools import product

import pytest
from dicom_files import mr_header

from mricore.imaging.sequences import (
    SEQUENCE_EVIDENCES,
    SEQUENCES,
    VENDOR_EVIDENCES,
    VENDORS,
    names_in,
    sequence_type,
    vendor,
)

NAMELESS = replace(
    mr_header(),
    series_description="",
    protocol_name="",
    scanning_sequence=("SE",),
    inversion_time=math.nan,
)
TIMELESS = replace(NAMELESS, scanning_sequence=(), echo_time=math.nan, repetition_time=math.nan)


def sequence(**changes):
    return sequence_type(replace(NAMELESS, **changes)).value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("t1_tse_cor", "T1"),
        ("T1W SE", "T1"),
        ("T1TSE HR", "T1"),
        ("t1_vibe_fs_tra", "T1"),
        ("eTHRIVE", "T1"),
        ("AX VIBRANT", "T1"),
        ("RT IR-SPGR SAG", "T1"),
        ("t2_tse_sag", "T2"),
        ("T2W_TSE", "T2"),
        ("T2FSE", "T2"),
        ("pd_tse_fs", "PD"),
        ("PD FS SAG", "PD"),
        ("STIR cor", "STIR"),
        ("Ax FastSTIR T2", "STIR"),
        ("t2_tirm_cor", "STIR"),
        ("FSE-IR", "STIR"),
        ("T2 FLAIR", "FLAIR"),
        ("t2_dark-fluid", "FLAIR"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("T1 FLAIR", "T1"),
        ("ep2d_diff_b1000", "DWI"),
        ("ep2d-advdiff-3Scan-4bval_spair", "DWI"),
        ("DIFUSAO 5mm", "DWI"),
        ("DWI b0", "DWI"),
        ("b800", "DWI"),
        ("T2* GRE", "T2star"),
        ("SWI", "T2star"),
        ("ep2d_perf BOLUS", "T2star"),
        ("t1_vibe_dixon", "dixon"),
        ("LAVA-Flex", "dixon"),
        ("WATER:T2fseidealARC", "dixon"),
        ("in phase", "dixon"),
        ("IP/OP", "dixon"),
        ("TOF 3D", "MRA"),
        ("Ax TRICKS", "MRA"),
        ("ceMRA renal", "MRA"),
        ("MPRAGE", "T1"),
        ("HASTE cor", "T2"),
        ("MRCP radial", "T2"),
        ("TRUFISP", "bSSFP"),
        ("TRUE FISP COR", "bSSFP"),
        ("t2_trufi2d_cor_bh", "bSSFP"),
        ("fsfiesta3d", "bSSFP"),
        ("DCE", "DCE"),
        ("t1_fl3d_tra_dynaVIEWS", "DCE"),
        ("tfl_dyn_fast_tra_1.7x1.5_t2.5sec", "DCE"),
        ("multiPhase3/3_100-130sec", "DCE"),
        ("twist_5s_dyn_TRA (h06 ex B14)_TT=1.5s", "DCE"),
        ("Ax 3D SPGR", "GRE"),
        ("fl2d_ax", "GRE"),
    ],
)
def test_a_name_tells_the_sequence(name, expected):
    found = sequence_type(replace(TIMELESS, series_description=name))
    assert (found.value, found.evidence) == (expected, "SeriesDescription")
    found = sequence_type(replace(TIMELESS, protocol_name=name))
    assert (found.value, found.evidence) == (expected, "ProtocolName")


@pytest.mark.parametrize("name", ["st1tch", "localized", "xpdx", "kt2o", "swine", "hemangioma", "dynasuite"])
def test_a_part_of_a_word_tells_nothing(name):
    assert names_in(name) == ()
    assert sequence(series_description=name, repetition_time=4000.0, echo_time=90.0) == "T2"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sag T2 T10-T12", "T2"), ("AX T2 T1-T4", "T2"), ("T12", "unknown"), ("SAG T2 C7 T1", "T2")],
)
def test_a_vertebra_is_no_weighting(name, expected):
    assert sequence_type(replace(TIMELESS, series_description=name)).value == expected


def test_the_series_is_asked_before_the_protocol_unless_it_tells_less():
    assert sequence(series_description="t2_tse", protocol_name="t1_se") == "T2"
    assert sequence(series_description="3D SPGR", protocol_name="t1_se") == "T1"


SPIN, GRADIENT, PLANAR, INVERTED = ("SE",), ("GR",), ("EP",), ("SE", "IR")


@pytest.mark.parametrize(
    ("name", "agreeing", "opposing"),
    [
        ("t1", (SPIN, 550, 11, None), (SPIN, 4000, 90, None)),
        ("t1", (GRADIENT, 5, 2.5, None), (GRADIENT, 700, 22, None)),
        ("t1 flair", (INVERTED, 2200, 10, 860), (SPIN, 4000, 90, None)),
        ("t2", (SPIN, 4000, 90, None), (SPIN, 550, 11, None)),
        ("haste", (SPIN, 1000, 80, None), (GRADIENT, 5, 2.5, None)),
        ("pd fs", (SPIN, 2500, 35, None), (SPIN, 4000, 90, None)),
        ("stir", (INVERTED, 4500, 40, 160), (INVERTED, 9000, 120, 2500)),
        ("flair", (INVERTED, 9000, 120, 2500), (INVERTED, 4500, 40, 160)),
        ("diffusion", (PLANAR, 6000, 75, None), (GRADIENT, 5, 2.5, None)),
        ("t2*", (GRADIENT, 700, 22, None), (SPIN, 4000, 90, None)),
        ("dyn", (GRADIENT, 5, 2.5, None), (PLANAR, 1500, 30, None)),
        ("tof", (GRADIENT, 22, 3.5, None), (SPIN, 4000, 90, None)),
        ("trufi", (GRADIENT, 4, 2, None), (GRADIENT, 700, 22, None)),
        ("gre", (GRADIENT, 9, 4, None), (SPIN, 550, 11, None)),
    ],
)
@pytest.mark.parametrize("attribute", ["SeriesDescription", "ProtocolName"])
def test_the_evidence_says_whether_timing_agrees_with_the_name(attribute, name, agreeing, opposing):
    def found(technique, repetition, echo, inversion):
        texts = {"series_description": name} if attribute == "SeriesDescription" else {"protocol_name": name}
        times = {"repetition_time": float(repetition), "echo_time": float(echo)}
        times["inversion_time"] = float(inversion or math.nan)
        return sequence_type(replace(TIMELESS, scanning_sequence=technique, **texts, **times))

    (expected,) = names_in(name)[:1]
    assert found(*agreeing).value == found(*opposing).value == expected
    assert found(*agreeing).evidence == attribute + "+timing"
    assert found(*opposing).evidence == attribute + "-against-timing"


@pytest.mark.parametrize(
    ("name", "physics", "expected"),
    [
        ("PD T2 dual echo", {"repetition_time": 3000.0, "echo_time": 12.0}, "PD"),
        ("PD T2 dual echo", {"repetition_time": 3000.0, "echo_time": 96.0}, "T2"),
        ("t2_tirm", {"scanning_sequence": INVERTED, "inversion_time": 160.0, "echo_time": 60.0}, "STIR"),
        ("t2_tirm", {"scanning_sequence": INVERTED, "inversion_time": 2500.0, "echo_time": 90.0}, "FLAIR"),
        ("t1 dynamic", {"repetition_time": 500.0, "echo_time": 10.0}, "T1"),
    ],
)
def test_timing_chooses_among_the_sequences_that_a_name_holds(name, physics, expected):
    found = sequence_type(replace(NAMELESS, series_description=name, **physics))
    assert (found.value, found.evidence) == (expected, "SeriesDescription+timing")


def test_an_inversion_time_of_zero_is_none():
    found = sequence_type(replace(NAMELESS, series_description="t2 stir", inversion_time=0.0))
    assert (found.value, found.evidence) == ("STIR", "SeriesDescription")


@pytest.mark.parametrize(
    ("physics", "expected"),
    [
        ({"repetition_time": 500.0, "echo_time": 10.0}, "T1"),
        ({"repetition_time": 4000.0, "echo_time": 90.0}, "T2"),
        ({"repetition_time": 2500.0, "echo_time": 30.0}, "PD"),
        ({"repetition_time": 2500.0, "echo_time": 55.0}, "T2"),
        ({"repetition_time": 500.0, "echo_time": 50.0}, "unknown"),
        ({"scanning_sequence": ("SE", "IR"), "inversion_time": 160.0}, "STIR"),
        ({"scanning_sequence": ("SE", "IR"), "inversion_time": 2500.0}, "FLAIR"),
        ({"scanning_sequence": ("GR", "IR"), "inversion_time": 900.0}, "T1"),
        ({"scanning_sequence": ("GR",), "repetition_time": 10.0, "echo_time": 4.0}, "GRE"),
        ({"scanning_sequence": ("GR",), "repetition_time": 600.0, "echo_time": 20.0}, "T2star"),
        ({"scanning_sequence": (), "repetition_time": 5.0, "echo_time": 2.0}, "unknown"),
        ({"repetition_time": math.nan, "echo_time": 90.0}, "unknown"),
        ({"repetition_time": 500.0, "echo_time": math.nan}, "unknown"),
        ({"inversion_time": 160.0, "repetition_time": 500.0, "echo_time": 10.0}, "T1"),
    ],
)
def test_without_a_name_the_timing_tells(physics, expected):
    found = sequence_type(replace(NAMELESS, **physics))
    assert (found.value, found.evidence) == (expected, "none" if expected == "unknown" else "timing")


def test_a_gradient_echo_by_name_is_weighted_as_its_timing_says():
    slow = {"scanning_sequence": GRADIENT, "repetition_time": 600.0, "echo_time": 20.0}
    found = sequence_type(replace(NAMELESS, series_description="ax gre", **slow))
    assert (found.value, found.evidence) == ("T2star", "timing")


def test_diffusion_weighting_comes_before_any_name():
    weighted = sequence_type(replace(NAMELESS, b_value=800.0, series_description="t1_se"))
    assert (weighted.value, weighted.evidence) == ("DWI", "DiffusionBValue")


EPI, GRADIENT_EPI, GRASE = ("EP", "SE"), ("EP", "GR"), ("GR", "SE", "EP")


@pytest.mark.parametrize(
    ("technique", "echo", "texts"),
    [
        (EPI, 75.0, {}),
        (EPI, 75.0, {"series_description": "Ax DWI TENSOR"}),
        (EPI, 75.0, {"series_description": "series 4", "protocol_name": "breast dyn"}),
        (EPI, math.nan, {}),
        (PLANAR, 93.0, {}),
        (GRADIENT_EPI, 68.0, {"image_type": ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE")}),
    ],
)
def test_a_b_value_of_zero_tells_diffusion_where_nothing_speaks_against_it(technique, echo, texts):
    changes = {"scanning_sequence": technique, "echo_time": echo, "repetition_time": 4000.0, **texts}
    found = sequence_type(replace(NAMELESS, b_value=0.0, **changes))
    assert (found.value, found.evidence) == ("DWI", "DiffusionBValue")


@pytest.mark.parametrize(
    ("name", "technique", "repetition", "echo", "expected"),
    [
        ("Ax fMRI HB8 72sl", GRADIENT_EPI, 1000, 30, ("T2star", "SeriesDescription+timing")),
        ("fMRI Multiphase", GRADIENT_EPI, 1000, 35, ("T2star", "SeriesDescription+timing")),
        ("Axial EPI-FMRI", GRADIENT_EPI, 5000, 30, ("T2star", "SeriesDescription+timing")),
        ("BOLD se", EPI, 2000, 70, ("T2star", "SeriesDescription+timing")),
        ("DSC", GRADIENT_EPI, 1500, 40, ("T2star", "SeriesDescription+timing")),
        ("epiRT", GRADIENT_EPI, 2000, 14.8, ("T2star", "timing")),
        ("Ax PERFUSION", GRADIENT_EPI, 1500, 40, ("T2star", "timing")),
        ("asl 2d", GRADIENT_EPI, 4800, 11, ("GRE", "timing")),
        ("3DpCASL", GRASE, 4250, 9, ("PD", "timing")),
        ("", EPI, 4000, 12, ("PD", "timing")),
        ("flair epi", EPI, 9000, 100, ("FLAIR", "SeriesDescription-against-timing")),
        ("t1_se", SPIN, 500, 10, ("T1", "SeriesDescription+timing")),
        ("dti_ax", SPIN, 4571, 61, ("DWI", "SeriesDescription+timing")),
        ("DWI", GRADIENT_EPI, 3500, 68, ("DWI", "SeriesDescription+timing")),
    ],
)
def test_a_b_value_of_zero_gives_way_to_name_and_timing(name, technique, repetition, echo, expected):
    header = replace(NAMELESS, b_value=0.0, series_description=name, scanning_sequence=technique)
    found = sequence_type(replace(header, repetition_time=float(repetition), echo_time=float(echo)))
    assert (found.value, found.evidence) == expected


@pytest.mark.parametrize(
    ("manufacturer", "model", "expected"),
    [
        ("SIEMENS", "", "siemens"),
        ("Siemens Healthineers", "MAGNETOM Vida", "siemens"),
        ("GE MEDICAL SYSTEMS", "SIGNA Artist", "ge"),
        ("Philips Medical Systems", "Ingenia", "philips"),
        ("Philips Healthcare", "", "philips"),
        ("TOSHIBA_MEC", "Titan", "canon"),
        ("CANON_MEC", "", "canon"),
        ("Hitachi Medical Corporation", "", "hitachi"),
        ("UIH", "uMR 780", "united_imaging"),
        ("ESAOTE S.p.A.", "G-scan", "esaote"),
        ("PICKER International, Inc.", "Vista 1.0T", "picker"),
        ("WDM", "i_Open 0.36T", "wandong"),
        ("GE MEDICAL SYSTEMS / MIM Software", "", "ge"),
        ("", "MAGNETOM_ESSENZA", "siemens"),
        ("0000000", "Intera", "philips"),
        ("Confirma Inc.", "CADstream 3.0.4 (Build 358)", "unknown"),
        ("", "Avanto", "siemens"),
        ("", "DISCOVERY MR750", "ge"),
        ("", "Achieva", "philips"),
        ("", "", "unknown"),
        ("ACME GENERAL", "Model T", "unknown"),
        ("Imaging Lab", "Garage", "unknown"),
    ],
)
def test_the_maker_is_known_by_name_else_by_model(manufacturer, model, expected):
    assert vendor(replace(NAMELESS, manufacturer=manufacturer, model=model)).value == expected


def test_the_evidence_is_the_attribute_that_decided():
    assert vendor(replace(NAMELESS, manufacturer="", model="Avanto")).evidence == "ManufacturerModelName"
    assert vendor(replace(NAMELESS, manufacturer="GE", model="Avanto")).evidence == "Manufacturer"
    assert vendor(replace(NAMELESS, manufacturer="", model="")).evidence == "none"


def test_the_vocabularies_are_closed():
    needed = "T1 T2 PD STIR FLAIR dixon DWI MRA T2star GRE bSSFP DCE unknown"
    assert sorted(SEQUENCES) == sorted(needed.split())
    assert len(set(VENDORS)) == len(VENDORS)
    assert "unknown" in VENDORS
    assert set(VENDOR_EVIDENCES) == {"Manufacturer", "ManufacturerModelName", "none"}
    assert len(set(SEQUENCE_EVIDENCES)) == len(SEQUENCE_EVIDENCES)
    assert {"DiffusionBValue", "timing", "none"} < set(SEQUENCE_EVIDENCES)


def test_whatever_a_header_holds_its_findings_are_words_of_the_vocabularies():
    numbers = (math.nan, 0.0, 5.0, 30.0, 160.0, 900.0, 2500.0)
    names = ("", "t1 pd t2 stir flair", "gre", "dwi dyn", "fl2d tof trufi", "nothing")
    for name, number, technique in product(names, numbers, ((), SPIN, GRADIENT, PLANAR, INVERTED, ("RM",))):
        header = replace(
            TIMELESS,
            series_description=name,
            protocol_name=name[::-1],
            scanning_sequence=technique,
            echo_time=number,
            repetition_time=10 * number,
            inversion_time=number,
            b_value=number - 5,
        )
        found = sequence_type(header)
        assert found.value in SEQUENCES
        assert found.evidence in SEQUENCE_EVIDENCES
        assert (found.value == "unknown") == (found.evidence == "none")
