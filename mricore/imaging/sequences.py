"""Sequence type and vendor, from words and from physics.

A name says what was meant, timing what was done. Words win, as echo and inversion times are reported in many
ways; the evidence tells whether timing agrees. Only where a name holds words for several sequences (PD and T2
of a double echo, TIRM for both STIR and FLAIR) does timing choose among them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from mricore.imaging.anatomy import UNKNOWN, Finding, plain_words
from mricore.imaging.headers import FrameHeader

_BEHIND = r"(W\w*|T?SE\w*|FR?FSE\w*|F\w+|GR?E\w*|SAG\w*|AX\w*|TRA\w*|COR\w*|DFL\w*|SP\w+|PRE|POST\w*|[A-Z])?"
"""What is written behind T1 or T2 without a space; digits would make it a vertebra."""
_NAMES = (
    (
        "DWI",
        r"\w*DWI\w*|TRACEW|DTI\w*|\w*DIFF|DIFF?US\w*|MDDW|DWSSFSE|RESOLVE|IVIM|TENSOR|S?B(0|50|\d{3,4})|\d?BVALS?",
    ),
    ("T2star", r"DSC|EP2D PERF|PERF\w* (BOLUS|GRE)|BOLD|F ?MRI"),
    ("DCE", r"DCE|\d*DYN(?!DIST|A ?SUITE)\w*|MULTI ?PHASE\w*|MPH|DISCO"),
    ("MRA", r"TOF|\w*MRA|MRV|(MR|CE)? ?ANGIO(GR\w*)?|TRICKS|INHANCE|QISS"),
    ("DCE", r"TWIST"),
    ("T1", r"T1W? ?(TSE |FSE )?(DARK ?FLUID|FLAIR)"),  # inversion for contrast, not to null fluid
    ("FLAIR", r"\w*FLAIR\w*|DARK ?FLUID"),
    ("STIR", r"\w*STIR\w*|TIRM|TIR2D\w*|IR ?[FT]SE|[FT]SE ?IR"),
    ("FLAIR", r"TIRM|TIR2D\w*"),
    ("dixon", r"\w*DIXON\w*|\w*IDEAL\w*|(LAVA|VIBRANT|FSE|WATER) ?FLEX|DIX|IP OP|IN ?(OUT|OPP)"),
    ("dixon", r"(IN|OUT|OPP|OPPOSED) ?(OF )?PHASE"),
    ("bSSFP", r"TRUE? ?FI(SP|[23]D)?|TFI[23]D\w*|\w*FIESTA\w*|SSFP|BALANCED|B ?[FT]FE|CISS|CI3D\w*"),
    ("T2star", r"T2 ?STAR\w*|T2S|SWI(3D\w*)?|SWAN|MEDIC|ME[23]D\w*|MERGE|HEMO"),
    ("T1", rf"(?<![CT]\d )T1{_BEHIND}|MP2?RAGE|RAGE|VIBE|LAVA\w*|\w*THRIVE\w*|BRAVO|VIBRANT\w*|FAME"),
    ("T1", r"IR F?SPGR|\w*VIEWS|BLISS|\w*RODEO"),
    ("T2", rf"(?<![CT]\d )T2(?! STAR){_BEHIND}|HASTE|H2D\w*|SSFSE|MRCP"),
    ("PD", r"PDW?|PROTON|PD ?FS"),
    ("GRE", r"\w*GRE|F?SPGR|T?FL[23]D\w*|TFL|FLASH|GRASS|FFE|TFE|FISP"),
)
"""First come words that tell more than the weighting, since it is often named beside them."""
_PATTERNS = tuple((sequence, re.compile(rf"\b({pattern})\b")) for sequence, pattern in _NAMES)
SEQUENCES: tuple[str, ...] = (*dict.fromkeys(sequence for sequence, _ in _NAMES), UNKNOWN)
"""The closed vocabulary. DCE is a series during the arrival of contrast; GRE a gradient echo and no more."""

_SOURCES: tuple[tuple[str, Callable[[FrameHeader], str]], ...] = (
    ("SeriesDescription", lambda header: header.series_description),
    ("ProtocolName", lambda header: header.protocol_name),
)
_AGREES, _AGAINST = "+timing", "-against-timing"
_DIFFUSION, _TIMING, _NOTHING = "DiffusionBValue", "timing", "none"
SEQUENCE_EVIDENCES: tuple[str, ...] = (
    _DIFFUSION,
    *(name + verdict for name, _ in _SOURCES for verdict in ("", _AGREES, _AGAINST)),
    _TIMING,
    _NOTHING,
)
"""The closed vocabulary of what a sequence type may rest on."""

_Range = tuple[float, float]
_ANY = (-math.inf, math.inf)


@dataclass(frozen=True)
class _Timing:
    """How a sequence is run: spin echo (SE), gradient echo (GR) or echo planar (EP), and times in ms."""

    technique: str
    echo: _Range = _ANY
    repetition: _Range = _ANY
    inversion: _Range = _ANY


_SHORTEST_BOLD = 12.0
"""Echo time in ms from which gradient echo EPI is weighted by T2*; labelled perfusion keeps below it."""
_TIMINGS: dict[str, tuple[_Timing, ...]] = {
    "T1": (
        _Timing("SE", echo=(0, 40), repetition=(0, 1500)),
        _Timing("SE", echo=(0, 40), inversion=(350, 1500)),
        _Timing("GR", echo=(0, 15)),
    ),
    "T2": (_Timing("SE", echo=(50, 1000), repetition=(500, math.inf)), _Timing("EP", echo=(50, 200))),
    "PD": (_Timing("SE", echo=(0, 55), repetition=(1000, math.inf)),),
    "STIR": (_Timing("SE", inversion=(80, 350)),),
    "FLAIR": (_Timing("SE", echo=(50, 1000), inversion=(1500, 4000)),),
    "DWI": (_Timing("EP", echo=(35, 200)), _Timing("SE", echo=(35, 200))),
    "T2star": (_Timing("GR", echo=(7, 100)), _Timing("EP", echo=(_SHORTEST_BOLD, 100))),
    "DCE": (_Timing("GR", echo=(0, 15)),),
    "MRA": (_Timing("GR", echo=(0, 15)),),
    "bSSFP": (_Timing("GR", echo=(0, 15), repetition=(0, 150)),),
    "GRE": (_Timing("GR"),),
}
"""What clinical protocols stay within. Nothing in the header tells the timing of dixon."""

_MAKERS = {
    "siemens": "SIEMENS MAGNETOM NUMARIS SKYRA TRIO TRIOTIM AVANTO AERA PRISMA VERIO ESPREE SYMPHONY SOLA "
    "SYMPHONYTIM VIDA LUMINA ALTEA AMIRA SEMPRA TERRA SONATA ALLEGRA HARMONY CONCERTO BIOGRAPH ESSENZA "
    "SPECTRA",
    "ge": "GE GEMS SIGNA GENESIS OPTIMA BRIVO DISCOVERY",
    "philips": "PHILIPS ACHIEVA INGENIA INTERA PANORAMA GYROSCAN AMBITION ELITION MULTIVA PRODIVA",
    "canon": "CANON TOSHIBA VANTAGE EXCELART TITAN ORIAN GALAN",
    "hitachi": "HITACHI FUJIFILM OASIS ECHELON AIRIS APERTO",
    "united_imaging": "UIH UNITED UMR",
    "esaote": "ESAOTE ARTOSCAN",
    "picker": "PICKER MARCONI",
    "wandong": "WDM WANDONG",
}
_MAKER_OF = {word: maker for maker, words in _MAKERS.items() for word in words.split()}
VENDORS: tuple[str, ...] = (*_MAKERS, UNKNOWN)
"""The closed vocabulary."""
_MAKER_SOURCES: tuple[tuple[str, Callable[[FrameHeader], str]], ...] = (
    ("Manufacturer", lambda header: header.manufacturer),
    ("ManufacturerModelName", lambda header: header.model),
)
VENDOR_EVIDENCES: tuple[str, ...] = (*(name for name, _ in _MAKER_SOURCES), _NOTHING)
"""The closed vocabulary of what a vendor may rest on."""


def sequence_type(header: FrameHeader) -> Finding:
    """The sequence by diffusion weighting, else by its name, else by its timing; "unknown" if none tells."""
    if header.b_value > 0 or _is_unweighted_diffusion(header):
        return Finding("DWI", _DIFFUSION)
    names, attribute = _named(header)
    measured = _measured(header)
    if not names or _is_finer(measured, names[0], header):
        return Finding(measured, _NOTHING if measured == UNKNOWN else _TIMING)
    agrees = _timing_agrees(header, names[0])
    if agrees is False and measured in names:
        return Finding(measured, attribute + _AGREES)
    return Finding(names[0], attribute + {True: _AGREES, False: _AGAINST, None: ""}[agrees])


def _is_unweighted_diffusion(header: FrameHeader) -> bool:
    """Whether b = 0 comes from a diffusion scan: GE and Philips write it on images of any kind.

    Diffusion is spin echo EPI, which some scanners call GR all the same; ImageType then tells.
    """
    technique = header.scanning_sequence
    planar = "EP" in technique and ("GR" not in technique or "DIFFUSION" in header.image_type)
    named = names_in(header.series_description or header.protocol_name)[:1]
    unopposed = named in ((), ("DWI",)) and _timing_agrees(header, "DWI") is not False
    return header.b_value == 0 and planar and unopposed


def vendor(header: FrameHeader) -> Finding:
    """The scanner's maker; some archives blank it but leave the model."""
    for attribute, read in _MAKER_SOURCES:
        maker = _maker_in(read(header))
        if maker:
            return Finding(maker, attribute)
    return Finding(UNKNOWN, _NOTHING)


@lru_cache(maxsize=4096)
def _maker_in(text: str) -> str | None:
    makers = (_MAKER_OF.get(word) for word in re.findall(r"[A-Z]+", text.upper()))
    return next((maker for maker in makers if maker), None)


def _named(header: FrameHeader) -> tuple[tuple[str, ...], str]:
    """The sequences named by the first attribute that names one; "GRE" tells so little that it comes last."""
    found = [(names_in(read(header)), attribute) for attribute, read in _SOURCES]
    found = [one for one in found if one[0]]
    telling = (one for one in found if one[0][0] != "GRE")
    return next(telling, found[0] if found else ((), _NOTHING))


@lru_cache(maxsize=65536)
def names_in(text: str) -> tuple[str, ...]:
    """Sequences that a text names, the most telling first."""
    words = plain_words(text.replace("*", " star "))
    return tuple(dict.fromkeys(sequence for sequence, pattern in _PATTERNS if pattern.search(words)))


def _timing_agrees(header: FrameHeader, sequence: str) -> bool | None:
    """Whether the header's times are those of a sequence; None if too little is known of either."""
    technique = _technique(header)
    if technique is None or sequence not in _TIMINGS:
        return None
    verdicts = [_fits(header, timing) for timing in _TIMINGS[sequence] if timing.technique == technique]
    return True if True in verdicts else None if None in verdicts else False


def _fits(header: FrameHeader, timing: _Timing) -> bool | None:
    """False if one time is out of range, None if one that matters is missing, else True."""
    pairs = (
        (header.echo_time, timing.echo),
        (header.repetition_time, timing.repetition),
        (header.inversion_time or math.nan, timing.inversion),  # some scanners write 0 for no inversion
    )
    pairs_that_matter = [(time, limits) for time, limits in pairs if limits != _ANY]
    if any(time < low or time > high for time, (low, high) in pairs_that_matter):
        return False
    return None if any(math.isnan(time) for time, _ in pairs_that_matter) else True


def _is_finer(measured: str, named: str, header: FrameHeader) -> bool:
    """Whether timing tells the weighting of a gradient echo whose name does not."""
    return named == "GRE" and measured in ("T1", "T2star") and _technique(header) == "GR"


def _technique(header: FrameHeader) -> str | None:
    """Echo planar, gradient echo or spin echo, as far as ScanningSequence tells."""
    if "EP" in header.scanning_sequence:
        return "EP"
    if "SE" in header.scanning_sequence:
        return "SE"
    return "GR" if "GR" in header.scanning_sequence else None


def _measured(header: FrameHeader) -> str:
    """Weighting from repetition, echo and inversion times in ms (usual clinical ranges)."""
    if "IR" in header.scanning_sequence and header.inversion_time > 0:
        if 80 <= header.inversion_time <= 350:
            return "STIR"
        return "FLAIR" if header.inversion_time >= 1500 else "T1"
    if math.isnan(header.echo_time) or math.isnan(header.repetition_time):
        return UNKNOWN
    if "GR" in header.scanning_sequence and "SE" not in header.scanning_sequence:
        weighted = _SHORTEST_BOLD if "EP" in header.scanning_sequence else 15
        return "T2star" if header.echo_time >= weighted else "GRE"
    return _measured_spin_echo(header.repetition_time, header.echo_time)


def _measured_spin_echo(repetition: float, echo: float) -> str:
    if repetition < 100:  # no spin echo is that fast: ScanningSequence is missing or unusual
        return UNKNOWN
    if echo >= 60:
        return "T2"
    if repetition < 1000:
        return "T1" if echo < 40 else UNKNOWN
    return "PD" if echo < 50 else "T2"
