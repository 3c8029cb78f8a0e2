"""Body location from a header: attributes first, then descriptions, then the receive coil.

Anatomy that shows a face must not slip through, so the rule errs towards exclusion. A face-bearing word
anywhere in BodyPartExamined or a description wins over all other locations, however many say otherwise,
and even as a part of a longer word (``HEADNECK``, ``WIPBrain``). It is overruled only where it belongs to
a term for something else (head of the femur, neck of the bladder, cancer of the cervix, feet first);
those terms are replaced before words are looked up, see ``_TERMS``. A spine of which no level below the
neck is told counts as cervical, as do whole spines; a whole body has a face.
The coil is asked only if nothing else tells, and only coils made for one part of the body count, since
torso arrays serve everything; head coils count. What says nothing is "unknown", never a guess.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from mricore.imaging.headers import FrameHeader

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """A category and the attribute that decided; never the attribute's text."""

    value: str
    evidence: str


_WORDS: dict[str, str] = {
    "brain": "BRAIN IAC IACS SELLA HIPPOCAMPUS PONS EPILEPSY STROKE GLIOMA TRIGEMINAL VESTIBULAR "
    "COCHLEA GEHIRN HIRN SCHAEDEL SCHADEL CERVEAU CERVELLO HERSENEN MOZG MOZGU MPRAGE BRAVO FMRI",
    "head": "HEAD SKULL KOPF TETE CRANE CABEZA CABECA TESTA HOOFD GLOWA GLOWY COW WILLIS CIRCLEOFWILLIS HNS",
    "face": "FACE FACIAL ORBIT ORBITS EYE EYES OPTIC OPTICCANAL SINUS SINUSES JAW MANDIBLE MAXILLA TMJ NASAL "
    "NOSE NASOPHARYNX PAROTID PAROTIDS SALIVARYGLAND TONGUE MOUTH ORALCAVITY TEETH DENTAL EAR EARS CHEEK",
    "neck": "NECK LARYNX THYROID PHARYNX OROPHARYNX HYPOPHARYNX CAROTID CAROTIDS HALS COU CUELLO COLLO NEK "
    "SZYJA SZYI BRACHIALPLEXUS",
    "cervical_spine": "CSPINE CTSPINE CTLSPINE CTL CERV CERVICOTHORACIC HWS HWK CWK",
    "spine": "LSPINE TSPINE SSPINE LSSPINE TLSPINE LUMBAR LUMBARSPINE THORACICSPINE SACRUM SACRAL "
    "LUMBOSACRAL SACROILIAC COCCYX LWS BWS",
    "prostate": "PROSTATE PROSTATA PROSTATIC",
    "heart": "HEART CARDIAC CARDIO CARDIOVASCULAR MYOCARDIUM HERZ",
    "breast": "BREAST BREASTS MAMMA MAMMARY MAMMO MAMMOGRAPHY",
    "chest": "CHEST CHESTABDOMEN CHESTABDPELVIS THORAX THORACIC LUNG LUNGS MEDIASTINUM RIB RIBS STERNUM "
    "CLAVICLE THYMUS ESOPHAGUS",
    "abdomen": "ABDOMEN ABDOMINAL ABD ABDOMENPELVIS LIVER LEBER KIDNEY KIDNEYS RENAL PANCREAS SPLEEN MRCP "
    "ADRENAL ADRENALS ENTEROGRAPHY BILIARY BOWEL STOMACH ABDOME HEPATIC",
    "pelvis": "PELVIS PELVIC BECKEN PELVE UTERUS ENDOMETRIUM RECTUM RECTAL CERVIX OVARY OVARIES BLADDER "
    "MIEDNICA MIEDNICY ANAL PERIANAL PENIS SCROTUM TESTIS",
    "hip": "HIP HIPS ACETABULUM",
    "thigh": "THIGH THIGHS FEMUR FEMORAL UPPERLEG HAMSTRING HAMSTRINGS",
    "knee": "KNEE KNEES PATELLA KNIE GENOU",
    "lower_leg": "CALF CALVES TIBIA FIBULA LOWERLEG LEG LEGS TIBFIB",
    "ankle": "ANKLE ANKLES ACHILLES",
    "foot": "FOOT FEET TOE TOES FOREFOOT HINDFOOT MIDFOOT HEEL",
    "shoulder": "SHOULDER SHOULDERS SCAPULA ROTATOR SCHULTER",
    "arm": "ARM UPPERARM HUMERUS HUMERAL",
    "elbow": "ELBOW ELBOWS",
    "forearm": "FOREARM FOREARMS RADIUS ULNA",
    "wrist": "WRIST WRISTS SCAPHOID CARPAL",
    "hand": "HAND HANDS FINGER FINGERS THUMB",
    "extremity": "EXTREMITY EXTREMITIES LOWEREXTREMITY UPPEREXTREMITY LOWERLIMB UPPERLIMB LIMB",
    "whole_body": "WHOLEBODY",
}
_SOME_SPINE = "some spine"
"""Stands for a level that nothing tells until all texts have been read."""
_SPINES = "SPINE SPINAL VERTEBRA VERTEBRAE MYELO RACHIS COLUMNA COLONNE WIRBELSAULE"
_LOCATION_OF = {
    word: location for location, words in _WORDS.items() for word in words.split()
} | dict.fromkeys(_SPINES.split(), _SOME_SPINE)
LOCATIONS: tuple[str, ...] = (*_WORDS, UNKNOWN)
"""The closed vocabulary; "extremity" is a limb of which nothing more is said."""
FACE_BEARING = frozenset({"brain", "head", "face", "neck", "cervical_spine", "whole_body"})
_VAGUE = frozenset({"extremity"})
"""Gives way to any other location found in the header."""
_COIL_LOCATIONS = FACE_BEARING | {
    *("breast", "prostate", "shoulder", "arm", "elbow", "forearm", "wrist", "hand"),
    *("hip", "thigh", "knee", "lower_leg", "ankle", "foot", "extremity"),
}

_FACE_STEMS = (
    ("brain", "BRAIN CEREBR CEREBEL PITUIT CRANI ENCEPHAL ENCEFAL MENING NEUROCRAN HIRN SCHADEL SCHAEDEL"),
    ("head", "HEAD SKULL CRANE"),
    ("face", "FACIAL ORBITA MAXILL MANDIB NASOPHA TEMPOROMANDIB"),
    ("cervical_spine", "CSPINE CERVICA WHOLESPINE TOTALSPINE HALSWIRBEL GANZWIRBEL"),
    ("neck", "NECK LARYN PHARYN CAROTI PAROTI THYROI HALS"),
)
_STEMS = tuple((stem, location) for location, stems in _FACE_STEMS for stem in stems.split())

_PART = r"(?:HEADS?|NECKS?)"
_MOVED = r"(HANDS?|FINGERS?|TOES?|FOOT|FEET|TONGUE|MOTOR|TAPPING|TASK|MOVEMENT|REST|RESTING)"
_TERMS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"\b(FEMORAL|FEMUR) {_PART}\b|\b{_PART} OF (THE )?((LEFT|RIGHT) )?FEMUR\b", "HIP"),
        (rf"\b(HUMERAL|HUMERUS) {_PART}\b|\b{_PART} OF (THE )?((LEFT|RIGHT) )?HUMERUS\b", "SHOULDER"),
        # radial is also a way to scan: it needs a word of the arm beside it
        (rf"^(?=.*\b(ELBOW|FOREARM|FRACTURE|ARTHROPLASTY)\b)(.*)\bRADIAL {_PART}\b", r"\2ELBOW"),
        (rf"\bRADIUS {_PART}\b|\b{_PART} OF (THE )?((LEFT|RIGHT) )?RADIUS\b", "ELBOW"),
        (rf"\b(FIBULAR?|PERONEAL) {_PART}\b|\b{_PART} OF (THE )?((LEFT|RIGHT) )?FIBULA\b", "KNEE"),
        (rf"\b(ULNAR?|METACARPAL) {_PART}\b", "HAND"),
        (rf"\b(METATARSAL|TALAR|TALUS) {_PART}\b|\bSINUS TARSI\b", "FOOT"),
        (rf"\bPANCREA(TIC|S) {_PART}\b|\b{_PART} OF (THE )?PANCREAS\b", "ABDOMEN"),
        (rf"\bBLADDER {_PART}\b|\b{_PART} OF (THE )?BLADDER\b|\bPILONIDAL SINUS\b", "PELVIS"),
        (r"\bCERVICAL (CANCER|CARCINOMA|CA)\b|\bUTERINE CERVICAL\b", "PELVIS"),
        (r"\bCORONARY SINUS\b", "HEART"),
        (r"\b(HEAD|FEET|FOOT) FIRST\b|\bCRANIO ?CAUDAL\b", " "),
        (r"\bTEMPORAL (LOBES?|BONES?)\b|\bPOSTERIOR FOSSA\b", "BRAIN"),
        (r"\bORAL CAVITY\b", "ORALCAVITY"),
        (r"\bBRACHIAL PLEXUS\b", "BRACHIALPLEXUS"),
        (r"\bWHOLE BODY\b", "WHOLEBODY"),
        (r"\bNEURO\b(?!.*\b([TL]|LS|TL) ?SPINE\b)(?!.*\b(LUMBAR|LWS|BWS|SACRAL)\b)", "BRAIN"),
        # what moves in functional imaging is not what is imaged
        (rf"\bBOLD\b(?=.*\b{_MOVED}\b)|\b{_MOVED}\b(?=.*\bBOLD\b)", "BRAIN"),
        (r"\bARM (?![LR]\b)[A-Z0-9]\b", " "),  # of a trial
        (r"\b(WHOLE|TOTAL|FULL|COMPLETE|ENTIRE) SPINE\b|\bC ?T ?L ?SPINE\b", "WHOLESPINE"),
        (r"\bSPINE (WHOLE|TOTAL|FULL|COMPLETE|ENTIRE)\b", "WHOLESPINE"),
        (r"\bC (AND |ET |UND |Y |E )?[TL]\b( (AND )?L\b)?( SPINE\b)?", "CSPINE"),
        (r"\bSPINE (LS|TL|CT|[CTLS])\b", r"\1SPINE"),
        (r"\b(UPPER|LOWER) (LEG|ARM|LIMB)S?\b", r"\1\2"),
        (r"\bLOWERARM\b", "FOREARM"),
        (r"\b(UPPER|LOWER) EXTREMIT(Y|IES)\b", r"\1EXTREMITY"),
        (r"\bTIB (AND )?FIB\b", "TIBFIB"),
        (r"\b(LS|TL|CT|[CTLS]) ?SP(INE)?\b", r"\1SPINE"),
        (r"\b(THORACIC|DORSAL) SPINE\b|\bSPINE (THORACIC|DORSAL)\b", "TSPINE"),
        (r"\bC ?[1-7] (C|T) ?[1-7]\b", "CSPINE"),
    )
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^A-Z0-9]+")


def locate(header: FrameHeader) -> Finding:
    """The body location of an image; "unknown" if nothing tells."""
    if header.shows_face:
        return Finding("face", "RecognizableVisualFeatures")
    found = [Finding(place, name) for name, text in _sources(header) for place in locations_in(text)]
    found = _with_spine_levels(found)
    if not found:
        coil = [place for place in locations_in(header.coil) if place in _COIL_LOCATIONS]
        found = [Finding(place, "ReceiveCoilName") for place in coil]
    faces = [finding for finding in found if finding.value in FACE_BEARING]
    plain = [finding for finding in found if finding.value not in _VAGUE]
    return next(iter([*faces, *plain, *found]), Finding(UNKNOWN, "none"))


def _with_spine_levels(found: list[Finding]) -> list[Finding]:
    """A spine is the one whose level another word tells, else it may be a cervical one."""
    level = "spine" if any(finding.value == "spine" for finding in found) else "cervical_spine"
    return [
        Finding(level, finding.evidence) if finding.value == _SOME_SPINE else finding for finding in found
    ]


@lru_cache(maxsize=65536)
def locations_in(text: str) -> tuple[str, ...]:
    """Locations named in a text, in order of appearance; "some spine" if its level is not named."""
    sentence = plain_words(text)
    for pattern, replacement in _TERMS:
        sentence = pattern.sub(replacement, sentence)
    places = (_location_of_word(word) for word in sentence.split())
    return tuple(place for place in places if place)


def plain_words(text: str) -> str:
    """Upper case without accents, words parted by one space (also where only case parts them)."""
    bare = unicodedata.normalize("NFKD", _CAMEL.sub(" ", text).replace("ł", "l").replace("Ł", "L"))
    letters = "".join(character for character in bare if not unicodedata.combining(character))
    return _SEPARATORS.sub(" ", letters.upper()).strip()


def _location_of_word(word: str) -> str | None:
    """By the whole word without a trailing number, or by the stem of a face-bearing word inside it."""
    inside = (location for stem, location in _STEMS if stem in word)
    return _LOCATION_OF.get(word.rstrip("0123456789")) or next(inside, None)


def _sources(header: FrameHeader) -> tuple[tuple[str, str], ...]:
    """What may tell the anatomy, most trustworthy first."""
    return (
        ("BodyPartExamined", header.body_part),
        ("RequestedProcedureDescription", header.requested_procedure),
        ("StudyDescription", header.study_description),
        ("SeriesDescription", header.series_description),
        ("ProtocolName", header.protocol_name),
        ("ProcedureAttributes", header.procedures),
    )
