"""Sequence type and vendor, from words and from physics."""

from __future__ import annotations

import math
import re

from mricore.imaging.anatomy import UNKNOWN, Finding, plain_words
from mricore.imaging.headers import FrameHeader

_NAMES = (
    ("DWI", r"DWI|DTI|DIFF|DIFFUSION|EDWI|TRACEW|RESOLVE|IVIM|DWIBS"),
    ("MRA", r"TOF|MRA|MRV|ANGIO|ANGIOGRAPHY|TRICKS"),
    ("T1", r"T1W? ?(TSE |FSE )?(DARK ?FLUID|FLAIR)"),  # inversion for contrast, not to null fluid
    ("FLAIR", r"\w*FLAIR|DARK ?FLUID"),
    ("STIR", r"\w*STIR|TIRM"),
    ("dixon", r"M?DIXON|\w*IDEAL\w*|LAVA ?FLEX|DIX|(IN|OUT|OPP|OPPOSED) ?(OF )?PHASE|INPHASE"),
    ("T2star", r"T2 ?STAR\w*|T2S|SWI|SWAN|MEDIC|MERGE|HEMO"),
    ("T1", r"T1\w?|MPRAGE|VIBE|LAVA|E?THRIVE|BRAVO|VIBRANT|FAME"),
    ("T2", r"T2\w?|HASTE|SSFSE|MRCP"),
    ("PD", r"PDW?|PROTON|PD ?FS"),
    ("bSSFP", r"TRUFI|TRUFISP|TRUEFISP|FIESTA|BALANCED|B ?FFE|B ?TFE|CISS"),
)
_PATTERNS = tuple((sequence, re.compile(rf"\b({pattern})\b")) for sequence, pattern in _NAMES)
SEQUENCES: tuple[str, ...] = (*dict.fromkeys(name for name, _ in _NAMES), "GRE", UNKNOWN)
"""The closed vocabulary."""

_MAKERS = {
    "siemens": "SIEMENS MAGNETOM SKYRA TRIO TRIOTIM AVANTO AERA PRISMA VERIO ESPREE SYMPHONY SOLA VIDA "
    "LUMINA ALTEA AMIRA SEMPRA TERRA SONATA ALLEGRA HARMONY CONCERTO BIOGRAPH ESSENZA SPECTRA",
    "ge": "GE GEMS SIGNA GENESIS OPTIMA BRIVO DISCOVERY",
    "philips": "PHILIPS ACHIEVA INGENIA INTERA PANORAMA GYROSCAN AMBITION ELITION MULTIVA PRODIVA",
    "canon": "CANON TOSHIBA VANTAGE EXCELART TITAN ORIAN GALAN",
    "hitachi": "HITACHI FUJIFILM OASIS ECHELON AIRIS APERTO",
    "united_imaging": "UIH UNITED UMR",
}
_MAKER_OF = {word: maker for maker, words in _MAKERS.items() for word in words.split()}
VENDORS: tuple[str, ...] = (*_MAKERS, UNKNOWN)
"""The closed vocabulary."""


def sequence_type(header: FrameHeader) -> Finding:
    """The sequence by diffusion weighting, else by its name, else by its timing; "unknown" if none tells."""
    if header.b_value > 0 or (header.b_value == 0 and "EP" in header.scanning_sequence):
        return Finding("DWI", "DiffusionBValue")
    for attribute, text in (
        ("SeriesDescription", header.series_description),
        ("ProtocolName", header.protocol_name),
    ):
        words = plain_words(text.replace("*", " star "))
        for sequence, pattern in _PATTERNS:
            if pattern.search(words):
                return Finding(sequence, attribute)
    return _by_physics(header)


def vendor(header: FrameHeader) -> Finding:
    """The scanner's maker; some archives blank it but leave the model."""
    for attribute, text in (("Manufacturer", header.manufacturer), ("ManufacturerModelName", header.model)):
        for word in re.findall(r"[A-Z]+", text.upper()):
            if word in _MAKER_OF:
                return Finding(_MAKER_OF[word], attribute)
    return Finding(UNKNOWN, "none")


def _by_physics(header: FrameHeader) -> Finding:
    """Weighting from repetition, echo and inversion times in ms (usual clinical ranges)."""
    inversion = header.inversion_time
    if "IR" in header.scanning_sequence and inversion > 0:
        if 80 <= inversion <= 350:
            return Finding("STIR", "InversionTime")
        return Finding("FLAIR" if inversion >= 1500 else "T1", "InversionTime")
    if math.isnan(header.echo_time) or math.isnan(header.repetition_time):
        return Finding(UNKNOWN, "none")
    if "GR" in header.scanning_sequence and "SE" not in header.scanning_sequence:
        return Finding("T2star" if header.echo_time >= 15 else "GRE", "EchoTime")
    return _by_spin_echo(header.repetition_time, header.echo_time)


def _by_spin_echo(repetition: float, echo: float) -> Finding:
    if echo >= 60:
        return Finding("T2", "EchoTime")
    if repetition < 1000:
        return Finding("T1" if echo < 40 else UNKNOWN, "RepetitionTime")
    return Finding("PD" if echo < 50 else "T2", "EchoTime")
