"""Sequences by name, then by physics; makers by name, then by model."""

import math
from dataclasses import replace

import pytest
from dicom_files import mr_header

from mricore.imaging.sequences import SEQUENCES, VENDORS, sequence_type, vendor

NAMELESS = replace(
    mr_header(),
    series_description="",
    protocol_name="",
    scanning_sequence=("SE",),
    inversion_time=math.nan,
)


def sequence(**changes):
    return sequence_type(replace(NAMELESS, **changes)).value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("t1_tse_cor", "T1"),
        ("T1W SE", "T1"),
        ("t2_tse_sag", "T2"),
        ("T2W_TSE", "T2"),
        ("pd_tse_fs", "PD"),
        ("PD FS SAG", "PD"),
        ("STIR cor", "STIR"),
        ("t2_tirm_cor", "STIR"),
        ("T2 FLAIR", "FLAIR"),
        ("t2_dark-fluid", "FLAIR"),
        ("T1 FLAIR", "T1"),
        ("ep2d_diff_b1000", "DWI"),
        ("DWI b0", "DWI"),
        ("T2* GRE", "T2star"),
        ("SWI", "T2star"),
        ("t1_vibe_dixon", "dixon"),
        ("LAVA-Flex", "dixon"),
        ("in phase", "dixon"),
        ("TOF 3D", "MRA"),
        ("MPRAGE", "T1"),
        ("HASTE cor", "T2"),
        ("TRUFISP", "bSSFP"),
        ("FIESTA", "bSSFP"),
    ],
)
def test_a_name_tells_the_sequence(name, expected):
    physics = {"repetition_time": 555.0, "echo_time": 11.0}  # spin-echo T1
    found = sequence_type(replace(NAMELESS, series_description=name, **physics))
    assert (found.value, found.evidence) == (expected, "SeriesDescription")
    assert sequence(protocol_name=name, **physics) == expected


@pytest.mark.parametrize("name", ["st1tch", "localized", "xpdx", "kt2o", "swine"])
def test_a_part_of_a_word_tells_nothing(name):
    assert sequence(series_description=name, repetition_time=4000.0, echo_time=90.0) == "T2"
    found = sequence_type(replace(NAMELESS, series_description=name, echo_time=math.nan))
    assert found.value == "unknown"


def test_the_series_is_asked_before_the_protocol():
    assert sequence(series_description="t2_tse", protocol_name="t1_se") == "T2"


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
        ({"repetition_time": math.nan, "echo_time": 90.0}, "unknown"),
        ({"repetition_time": 500.0, "echo_time": math.nan}, "unknown"),
        ({"inversion_time": 160.0, "repetition_time": 500.0, "echo_time": 10.0}, "T1"),
    ],
)
def test_without_a_name_the_timing_tells(physics, expected):
    assert sequence(**physics) == expected


def test_diffusion_weighting_comes_before_any_name():
    assert sequence(b_value=800.0, series_description="t1_se") == "DWI"
    assert sequence(b_value=0.0, scanning_sequence=("EP", "SE"), series_description="t1_se") == "DWI"
    assert sequence(b_value=0.0, series_description="t1_se") == "T1"


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


def test_the_vocabularies_are_closed():
    assert len(set(SEQUENCES)) == len(SEQUENCES)
    assert {"T1", "T2", "PD", "STIR", "FLAIR", "DWI", "GRE", "T2star", "unknown"} <= set(SEQUENCES)
    assert len(set(VENDORS)) == len(VENDORS)
    assert "unknown" in VENDORS
