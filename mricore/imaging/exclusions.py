"""Which images curation leaves out by their header alone, and why.

The words were chosen on the names of 128,143 public series (tests/imaging/test_public_index.py). Some that
sound computed name acquisitions as well; they are absent or bound to their neighbours: a T1 MAP is often the
scan for one, MASK the phase before contrast, TENSOR the diffusion scan, T1 MPR an MPRAGE.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from mricore.config.curation import Curation
from mricore.imaging.headers import FrameHeader
from mricore.imaging.sequences import names_in
from mricore.records import Reason

_LOCALIZER = re.compile(
    r"\b(LOC|LO[CK]ALI[SZ]\w*|LOCATORS?|SCOUT?\w*|SURV|SURV(EY|MRI)\w*|REPERAGE|TOPOGRAMM?E?|SCANO(GRAM\w*)?"
    r"|PILOT|UE?BERSICHT\w*|FASTVIEW|SMART ?(PLAN|EXAM|BRAIN|BREAST|KNEE|SHOULDER|SPINE)"
    r"|(3|THREE|TRI) ?(PLANE\w*|PLN|PL)|POS? ?DISP)\d*\b"
)
"""Slices for planning, and pictures of how slices were planned (POSDISP)."""
_CALIBRATION = re.compile(
    r"\b(CALIB\w*|ASSET CAL|CAL HD|REF(ERENCE)? SCAN|SENSE REF(ERENCE)?|COIL (SURVEY|SENSITIVIT\w*)"
    r"|\w*(B0|B1|FIELD) ?MAP\w*|BLOCH SIEGERT|(TEST|CARE) ?BOLUS|TEST DOSE?|BOLUS ?TRA[CK]\w*|TIMING)\b|^CAL$"
)
"""Sensitivity of coils, maps of the field, arrival of a contrast agent."""
_COMPUTED = re.compile(
    r"\b(MIP|MINIP|MAX IP|MIN IP|PROJECTION|SUB|SUBTRACT|SUBTRACTION"
    r"|ADC|EADC|DADC|FA|COLFA|EXP|TENSOR|CALC BVAL\w*|TTP|MTT|R?CBV|R?CBF|PBP|KTRANS|VE|KEP|IAUC|TMAX"
    r"|GLM|STATISTICS|T TEST|FAT FRACTION|FATFRAC(TION)?"
    r"|(T1|T2|T2 STAR|R1|R2|R2 STAR|T1RHO|PERFUSION|B0|B1|FIELD) ?MAP)\b"
)
"""ImageType values of images that no scanner acquires: projections, differences, parametric maps.

A trace-weighted image (TRACEW) is none: most exams that have one keep nothing else of the diffusion scan.
"""
_RECOMPUTED = re.compile(
    r"\b(MPR|CPR|REFORMAT|REFORMATTED|RESAMPLED|CURVED|MEAN|AVERAGE|MEDIAN|STD DEVIATION|MAXIMUM|MINIMUM"
    r"|ADDITION|DIFFERENCE|MULTIPLICATION|DIVISION|QUANTITY)\b"
)
"""ImageType values that mean a reformat or arithmetic only in a derived image (PS3.3 C.8.16.1.4)."""
_MAPS = (
    r"\b(\w*ADC\d*|DIFFUSION COEFF\w*|\w*CALC BVAL|(DIFF|DWI|MDDW|DTI)\b.* (EXP|FA)|FRACTIONAL AN\w*"
    r"|SLOPE|PEI|VOI MASK|MASK FOR)\b"
    r"|: ?(SER|PE\d+)$|^TRAM$"  # ratio and percentage of enhancement, response to treatment
    r"|^(DD?(SSH|DWI|WIP|REG|DIFU\w*)|E(SSH|WIP|REG|DIFU\w*))\b"  # Philips: d for ADC, e for its exponential
)
_DIFFERENCES = r"\b(S{0,2}|S?GRAD|LEFT|RIGHT|\d+)SUB(S|TR?|TRACT\w*|TRACAO)?\d*\b"
_PROJECTIONS = (
    r"\b(MIPS?\d*|MIPSERIES\w*|MINIP|MAXIMUM INTENSITY|PROJECTION|PJN|TUMBLE|ROTAT(E|ION))\b|^AVERAGE( DC)?$"
)
_REFORMATS = r"(?<!\bT1 )\bMPR(S|SERIES\w*|AX\w*)?\b|\b(CPR|REFORMAT\w*|REFORM(?! (AX|COR|SAG|OBL)))\b"
_WORKSTATIONS = r"\b(REGISTERED|ALIGNED \w+TOPET|PROCESSED)\b|: FROM S\d|^(DERIVED|CAD)\b"
_NAMED_MAP = re.compile(_MAPS)
_NAMED_COMPUTED = re.compile("|".join((_MAPS, _DIFFERENCES, _PROJECTIONS, _REFORMATS, _WORKSTATIONS)))
"""Names of series that are no acquisitions, whatever their ImageType says."""
_ARITHMETIC = re.compile(r"\([\d/.]+\)\s*[-+]\s*\(")
"""How GE names the sum or difference of two series: by their numbers."""
_SCREENSHOT = re.compile(r"\b(SCREEN ?(SAVES?|SHOTS?)|KEY IMAGES?|SUMMARY SERIES)\b")
_PHANTOM = re.compile(r"\bPH?ANTOM[ES]?\b(?! (LIMB|PAIN))|\bFANTOM[AE]?\b")


def frame_reason(header: FrameHeader, policy: Curation) -> Reason | None:
    """Why the policy leaves out an image that could be read, judged by its header alone.

    A localizer or calibration holds no diagnostic volume; it says so in ImageType or, on scanners that do
    not write it there, in the name of the series. Derived means recomputed from other images.
    DERIVED\\SECONDARY alone does not say that: archives write it over untouched originals. Nor does MPR
    alone: GE writes ORIGINAL\\PRIMARY\\MPR for oblique acquisitions. So a reformat needs both words, as does
    arithmetic, whereas a projection, a difference or a parametric map is never an acquisition, whatever the
    first value says.
    A phantom is known by what was examined, never by the patient's name. Screenshots that say so in their
    attributes were refused before.
    """
    names = (header.series_description, header.protocol_name)
    if _is_localizer_type(header.image_type) or any(_is_localizer_name(name) for name in names):
        return Reason.LOCALIZER
    if _is_screenshot(header.series_description):
        return Reason.SCREENSHOT
    if _is_computed_type(header.image_type) or _is_computed_by_name(header):
        return Reason.DERIVED
    studies = (header.body_part, header.study_description, header.requested_procedure)
    if any(_is_phantom(text) for text in (*names, *studies)):
        return Reason.PHANTOM
    if min(header.rows, header.columns) < policy.min_pixels:
        return Reason.TOO_SMALL
    return None


def _is_computed_by_name(header: FrameHeader) -> bool:
    """By the series, else the protocol: a protocol is named for the scan and all that is computed from it.

    A series may hold diffusion-weighted images beside the map that it is named for. Weighting proves them;
    b = 0 does not, since GE and Philips write it on images of any kind.
    """
    name = header.series_description or header.protocol_name
    original = header.image_type[:1] == ("ORIGINAL",)
    if original and (header.b_value > 0 or (header.b_value == 0 and _is_scan_with_map(name))):
        return False
    return _is_computed_name(name)


@lru_cache(maxsize=4096)
def _is_localizer_type(image_type: tuple[str, ...]) -> bool:
    return bool(_LOCALIZER.search(_plain(" / ".join(image_type[2:]))))


@lru_cache(maxsize=4096)
def _is_computed_type(image_type: tuple[str, ...]) -> bool:
    kind = _plain(" / ".join(image_type[2:]))
    derived = image_type[:1] == ("DERIVED",)
    return bool(_COMPUTED.search(kind) or (derived and _RECOMPUTED.search(kind)))


@lru_cache(maxsize=65536)
def _is_localizer_name(text: str) -> bool:
    name = _plain(text)
    return bool(_LOCALIZER.search(name) or _CALIBRATION.search(name))


@lru_cache(maxsize=65536)
def _is_computed_name(text: str) -> bool:
    return bool(_NAMED_COMPUTED.search(_plain(text)) or _ARITHMETIC.search(text))


@lru_cache(maxsize=65536)
def _is_scan_with_map(text: str) -> bool:
    """Whether a name holds, beside its words for a map, those of a diffusion scan and of nothing computed."""
    scan = _NAMED_MAP.sub(" ", _plain(text))
    return "DWI" in names_in(scan) and not _is_computed_name(scan)


@lru_cache(maxsize=65536)
def _is_screenshot(text: str) -> bool:
    return bool(_SCREENSHOT.search(_plain(text)))


@lru_cache(maxsize=65536)
def _is_phantom(text: str) -> bool:
    return bool(_PHANTOM.search(_plain(text)))


def _plain(words: str) -> str:
    """Upper case without accents, single spaces between words; slash and colon keep texts apart."""
    bare = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^A-Z0-9/:]+", " ", bare.upper()).split())
