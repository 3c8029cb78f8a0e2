"""Body location from a header: attributes first, then descriptions, then the receive coil.

Anatomy that shows a face must not slip through, so the rule errs towards exclusion: a face-bearing word
in the attribute or any description wins over every other location, unless it is part of a term that means
something else (femoral head, neck of femur). The coil is asked only if nothing else tells, since one coil
serves head, neck and spine. Words are matched whole, in upper case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mricore.imaging.headers import FrameHeader

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """A category and the attribute that decided; never the attribute's text."""

    value: str
    evidence: str


_WORDS: dict[str, str] = {
    "brain": "BRAIN CEREBRAL CEREBRUM PITUITARY SELLA IAC IACS HIPPOCAMPUS NEURO CRANIUM CRANIAL SCHAEDEL "
    "GEHIRN POSTERIORFOSSA TEMPORAL EPILEPSY DTI_BRAIN",
    "head": "HEAD SKULL KOPF TETE CEREBROVASCULAR COW WILLIS CIRCLEOFWILLIS HNS MPRAGE",
    "face": "FACE FACIAL ORBIT ORBITS EYE SINUS SINUSES JAW MANDIBLE MAXILLA MAXILLOFACIAL TMJ NASAL "
    "NASOPHARYNX PAROTID TONGUE ORAL TEETH DENTAL EAR",
    "neck": "NECK LARYNX THYROID PHARYNX CAROTID CAROTIDS",
    "cervical_spine": "CSPINE CERVICAL HALSWIRBELSAEULE HWS CERVICALSPINE CTSPINE",
    "spine": "SPINE LSPINE TSPINE SSPINE LSSPINE TLSPINE LUMBAR THORACICSPINE LUMBARSPINE VERTEBRA VERTEBRAE "
    "SACRUM LUMBOSACRAL SACROILIAC COCCYX WHOLESPINE LWS BWS MYELO",
    "prostate": "PROSTATE PROSTATA",
    "heart": "HEART CARDIAC CARDIO CARDIOVASCULAR MYOCARDIUM",
    "breast": "BREAST BREASTS MAMMA MAMMO MAMMOGRAPHY",
    "chest": "CHEST THORAX THORACIC LUNG LUNGS MEDIASTINUM RIB RIBS STERNUM BRACHIALPLEXUS CLAVICLE",
    "abdomen": "ABDOMEN ABDOMINAL ABD LIVER LEBER KIDNEY KIDNEYS RENAL PANCREAS SPLEEN MRCP ADRENAL ADRENALS "
    "ENTEROGRAPHY BILIARY BOWEL STOMACH",
    "pelvis": "PELVIS PELVIC BECKEN UTERUS RECTUM RECTAL CERVIX OVARY OVARIES BLADDER MIEDNICA ANAL",
    "hip": "HIP HIPS",
    "thigh": "THIGH THIGHS FEMUR FEMORAL UPPERLEG HAMSTRING",
    "knee": "KNEE KNEES PATELLA KNIE",
    "lower_leg": "CALF TIBIA FIBULA LOWERLEG LEG LEGS LOWEREXTREMITY TIBFIB",
    "ankle": "ANKLE ANKLES ACHILLES",
    "foot": "FOOT FEET TOE TOES FOREFOOT HINDFOOT MIDFOOT HEEL",
    "shoulder": "SHOULDER SHOULDERS SCAPULA ROTATOR SCHULTER",
    "arm": "ARM HUMERUS UPPERARM HUMERAL UPPEREXTREMITY EXTREMITY",
    "elbow": "ELBOW ELBOWS",
    "forearm": "FOREARM RADIUS ULNA",
    "wrist": "WRIST WRISTS SCAPHOID CARPAL",
    "hand": "HAND HANDS FINGER FINGERS THUMB",
    "whole_body": "WHOLEBODY",
}
_LOCATION_OF = {word: location for location, words in _WORDS.items() for word in words.split()}
LOCATIONS: tuple[str, ...] = (*_WORDS, UNKNOWN)
"""The closed vocabulary."""
FACE_BEARING = ("brain", "head", "face", "neck", "cervical_spine")

_PHRASES = (
    (r"\b(FEMORAL|HUMERAL|RADIAL|FEMUR|HUMERUS|FIBULAR|METATARSAL)\s+(HEAD|NECK)S?\b", r"\1"),
    (r"\b(HEAD|NECK)\s+OF\s+(THE\s+)?(FEMUR|HUMERUS|RADIUS|FIBULA)\b", r"\3"),
    (r"\b(HEAD|FEET)\s+FIRST\b", " "),
    (r"\bTEMPORAL\s+(RESOLUTION|PHASE|POSITION)\b", " "),
    (r"\bWHOLE\s+BODY\b", "WHOLEBODY"),
    (r"\bUPPER\s+LEGS?\b", "UPPERLEG"),
    (r"\bLOWER\s+LEGS?\b", "LOWERLEG"),
    (r"\bLOWER\s+EXTREMIT(Y|IES)\b", "LOWEREXTREMITY"),
    (r"\bUPPER\s+EXTREMIT(Y|IES)\b", "UPPEREXTREMITY"),
    (r"\bTIB\s*/?\s*FIB\b", "TIBFIB"),
    (r"\bBRACHIAL\s+PLEXUS\b", "BRACHIALPLEXUS"),
    (r"\b([CTL]|LS|TL|CT)\s*-?\s*SP(INE)?\b", r"\1SPINE"),
    (r"\bTHORACIC\s+SPINE\b", "THORACICSPINE"),
    (r"\bCERVICAL\s+(CANCER|CARCINOMA|CA)\b", "CERVIX"),
)
_SEPARATORS = re.compile(r"[^A-Z0-9]+")


def locate(header: FrameHeader) -> Finding:
    """The body location of an image; "unknown" if nothing tells."""
    for sources in (_sources(header), (("ReceiveCoilName", header.coil),)):
        found = [Finding(place, attribute) for attribute, text in sources for place in locations_in(text)]
        if found:
            return next((finding for finding in found if finding.value in FACE_BEARING), found[0])
    return Finding(UNKNOWN, "none")


def locations_in(text: str) -> list[str]:
    """Locations named in a text, in order of appearance."""
    words = _SEPARATORS.sub(" ", text.upper())
    for pattern, replacement in _PHRASES:
        words = re.sub(pattern, replacement, words)
    return [_LOCATION_OF[word] for word in words.split() if word in _LOCATION_OF]


def _sources(header: FrameHeader) -> tuple[tuple[str, str], ...]:
    """What may tell the anatomy, most trustworthy first."""
    return (
        ("BodyPartExamined", header.body_part),
        ("RequestedProcedureDescription", header.requested_procedure),
        ("StudyDescription", header.study_description),
        ("SeriesDescription", header.series_description),
        ("ProtocolName", header.protocol_name),
    )
