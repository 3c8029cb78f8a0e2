"""Sequence type and vendor, from words and from physics."""

from __future__ import annotations

import math
import re

from mricore.imaging.anatomy import UNKNOWN, Finding
from mricore.imaging.headers import FrameHeader

SEQUENCES = ("T1", "T2", "PD", "STIR", "FLAIR", "DWI", "dixon", "T2star", "GRE", "MRA", UNKNOWN)
VENDORS = ("siemens", "ge", "philips", "canon", "hitachi", "united_imaging", UNKNOWN)

_BY_NAME = (
    ("DWI", r"\b(DWI|DTI|DIFF|DIFFUSION|EPI2D_DIFF|EP2D_DIFF)"),
    ("MRA", r"\b(TOF|MRA|ANGIO)\b"),
    ("FLAIR", r"\b(FLAIR|DARK ?FLUID)\b"),
    ("STIR", r"\b(STIR|TIRM)\b"),
    ("dixon", r"\b(DIXON|IDEAL|MDIXON|LAVA ?FLEX|VIBE ?DIXON)\b"),
    ("T2star", r"\b(T2 ?STAR|T2S|SWI|SWAN|MEDIC|MERGE|GRE ?T2)\b|T2\*"),
    ("T1", r"\bT1\w?\b|\b(MPRAGE|VIBE|LAVA|THRIVE|BRAVO)\b"),
    ("T2", r"\bT2\w?\b|\b(HASTE|SSFSE|TRUFI|FIESTA)\b"),
    ("PD", r"\bPDW?\b|\bPROTON\b"),
)
_MAKERS = (
    (
        "siemens",
        ("SIEMENS", "SKYRA", "TRIO", "AVANTO", "AERA", "PRISMA", "VERIO", "ESPREE", "SYMPHONY", "MAGNETOM"),
    ),
    ("ge", ("GE ", "GENERAL ELECTRIC", "SIGNA", "DISCOVERY MR", "OPTIMA")),
    ("philips", ("PHILIPS", "ACHIEVA", "INGENIA", "INTERA", "PANORAMA")),
    ("canon", ("CANON", "TOSHIBA", "VANTAGE")),
    ("hitachi", ("HITACHI", "FUJIFILM", "OASIS", "ECHELON", "AIRIS")),
    ("united_imaging", ("UIH", "UNITED IMAGING", "UMR")),
)


def sequence_type(header: FrameHeader) -> Finding:
    """The sequence by its name where one is given, else by its timing; "unknown" if neither tells."""
    if math.isfinite(header.b_value) and header.b_value > 0:
        return Finding("DWI", "b-value")
    for attribute, text in (
        ("SeriesDescription", header.series_description),
        ("ProtocolName", header.protocol_name),
    ):
        words = re.sub(r"[_\-.]+", " ", text.upper())
        for sequence, pattern in _BY_NAME:
            if re.search(pattern, words):
                return Finding(sequence, attribute)
    return _by_physics(header)


def vendor(header: FrameHeader) -> Finding:
    """The scanner's maker; some archives blank it but leave the model."""
    for attribute, text in (("Manufacturer", header.manufacturer), ("ManufacturerModelName", header.model)):
        padded = f"{text.upper()} "
        for maker, signs in _MAKERS:
            if any(sign in padded for sign in signs):
                return Finding(maker, attribute)
    return Finding(UNKNOWN, "none")


def _by_physics(header: FrameHeader) -> Finding:
    """Weighting from repetition, echo and inversion times in ms (usual clinical ranges)."""
    repetition, echo, inversion = header.repetition_time, header.echo_time, header.inversion_time
    if "IR" in header.scanning_sequence and math.isfinite(inversion):
        if inversion >= 1500:
            return Finding("FLAIR", "InversionTime")
        if 80 <= inversion <= 350:
            return Finding("STIR", "InversionTime")
    if not (math.isfinite(repetition) and math.isfinite(echo)):
        return Finding(UNKNOWN, "none")
    if "GR" in header.scanning_sequence and "SE" not in header.scanning_sequence:
        return Finding("T2star" if echo >= 15 else "GRE", "EchoTime")
    if repetition < 1000:
        return Finding("T1" if echo < 40 else UNKNOWN, "RepetitionTime")
    return Finding("PD" if echo < 50 else "T2", "EchoTime")
