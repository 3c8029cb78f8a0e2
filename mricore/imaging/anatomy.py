"""Body location from a header: attributes first, then descriptions, then the receive coil.

Anatomy that shows a face must not slip through, so the rule errs towards exclusion. A face-bearing word
anywhere in BodyPartExamined or a description wins over all other locations, however many say otherwise,
and even as a part of a longer word (``HEADNECK``, ``WIPBrain``). It is overruled only where it belongs to
a term for something else (head of the femur, neck of the bladder, cancer of the cervix, feet first);
those terms are replaced before words are looked up, see ``_TERMS``. A spine of which no level below the
neck is told counts as cervical, as do whole spines; a whole body has a face.
A word for a region gives way to one for a part of it (pelvis to prostate, extremity to any part), wherever
it stands: scanners fill in BodyPartExamined from a list of regions.
The coil is asked only if nothing else tells, and only coils made for one part of the body count, since
torso arrays serve everything; head coils count. What says nothing is "unknown", never a guess.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
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
    "brain": "BRAIN IAC IACS IAM IAMS SELLA HIPPOCAMPUS PONS EPILEPSY STROKE GLIOMA GBM TRIGEMINAL COCHLEA "
    "VESTIBULAR GEHIRN HIRN SCHAEDEL SCHADEL CERVEAU CERVELLO HERSENEN MOZG MOZGU MPRAGE MP2RAGE BRAVO FMRI "
    "GAMMAKNIFE",
    "head": "HEAD SKULL KOPF TETE CRANE CABEZA CABECA TESTA HOOFD GLOWA GLOWY COW WILLIS CIRCLEOFWILLIS HNS",
    "face": "FACE FACIAL ORBIT ORBITS EYE EYES OPTIC OPTICCANAL SINUS SINUSES JAW MANDIBLE MAXILLA TMJ NASAL "
    "NOSE NASOPHARYNX PAROTID PAROTIDS SALIVARYGLAND TONGUE MOUTH ORALCAVITY TEETH DENTAL EAR EARS CHEEK",
    "neck": "NECK LARYNX THYROID PHARYNX OROPHARYNX HYPOPHARYNX CAROTID CAROTIDS HALS COU CUELLO COLLO NEK "
    "SZYJA SZYI BRACHIALPLEXUS",
    "cervical_spine": "CSPINE CTSPINE CTLSPINE CTL CERV CERVICOTHORACIC HWS HWK CWK",
    "lumbar_spine": "LSPINE LSSPINE LUMBAR LUMBARSPINE LUMBOSACRAL LWS LENDENWIRBELSAULE LOMBAIRE LOMBARE",
    "thoracic_spine": "TSPINE THORACICSPINE BWS BRUSTWIRBELSAULE",
    "spine": "SSPINE TLSPINE THORACOLUMBAR SACRUM SACRAL SACROILIAC COCCYX",
    "prostate": "PROSTATE PROSTATA PROSTATIC",
    "heart": "HEART CARDIAC CARDIO CARDIOVASCULAR MYOCARDIUM HERZ COEUR CORAZON CUORE",
    # ISPY is a series of breast trials, by far the largest public collection, that names its exams thus
    "breast": "BREAST BREASTS BREAS BRST MAMMA MAMMAE MAMMARY MAMMO MAMMOGRAPHY MAMA MAMAS BORST PIERSI ISPY",
    "chest": "CHEST CHESTABDOMEN CHESTABDPELVIS THORAX THORACIC LUNG LUNGS MEDIASTINUM RIB RIBS STERNUM "
    "CLAVICLE THYMUS ESOPHAGUS TORAX TORACE",
    "abdomen": "ABDOMEN ABDOMINAL ABD ABDO ABDOMENPELVIS LIVER LEBER KIDNEY KIDNEYS RENAL PANCREAS SPLEEN "
    "MRCP ADRENAL ADRENALS ENTEROGRAPHY BILIARY BOWEL STOMACH ABDOME HEPATIC BAUCH OBERBAUCH NIERE NIEREN "
    "FOIE HIGADO FEGATO ADDOME BUIK BRZUCH BRZUCHA BRZUSZNEJ",
    "pelvis": "PELVIS PELVIC BECKEN PELVE UTERUS ENDOMETRIUM RECTUM RECTAL CERVIX OVARY OVARIES BLADDER "
    "MIEDNICA MIEDNICY ANAL PERIANAL PENIS SCROTUM TESTIS BASSIN BACINO BEKKEN",
    "hip": "HIP HIPS ACETABULUM HUFTE HUEFTE HANCHE CADERA",
    "thigh": "THIGH THIGHS FEMUR FEMORAL UPPERLEG HAMSTRING HAMSTRINGS OBERSCHENKEL CUISSE MUSLO COSCIA",
    "knee": "KNEE KNEES PATELLA KNIE GENOU RODILLA GINOCCHIO JOELHO KOLANO KOLANA",
    "lower_leg": "CALF CALVES TIBIA FIBULA LOWERLEG LEG LEGS TIBFIB UNTERSCHENKEL JAMBE PIERNA",
    "ankle": "ANKLE ANKLES ACHILLES SPRUNGGELENK OSG CHEVILLE TOBILLO CAVIGLIA",
    "foot": "FOOT FEET TOE TOES FOREFOOT HINDFOOT MIDFOOT HEEL FUSS PIED",
    "shoulder": "SHOULDER SHOULDERS SCAPULA ROTATOR SCHULTER EPAULE HOMBRO SPALLA OMBRO",
    "upper_arm": "ARM UPPERARM HUMERUS HUMERAL OBERARM",
    "elbow": "ELBOW ELBOWS ELLENBOGEN COUDE CODO GOMITO COTOVELO",
    "forearm": "FOREARM FOREARMS RADIUS ULNA UNTERARM ANTEBRAZO",
    "wrist": "WRIST WRISTS SCAPHOID CARPAL HANDGELENK POIGNET MUNECA POLSO PUNHO",
    "hand": "HAND HANDS FINGER FINGERS THUMB",
    "extremity": "EXTREMITY EXTREMITIES LOWEREXTREMITY UPPEREXTREMITY LOWERLIMB UPPERLIMB LIMB",
    "whole_body": "WHOLEBODY",
}
_SOME_SPINE = "some spine"
"""Stands for a level that nothing tells until all texts have been read."""
_SPINE_LEVELS = frozenset({"lumbar_spine", "thoracic_spine", "spine"})
_SPINES = "SPINE SPINAL VERTEBRA VERTEBRAE MYELO RACHIS COLUMNA COLONNE WIRBELSAULE"
_LOCATION_OF = {
    word: location for location, words in _WORDS.items() for word in words.split()
} | dict.fromkeys(_SPINES.split(), _SOME_SPINE)
LOCATIONS: tuple[str, ...] = (*_WORDS, UNKNOWN)
"""The closed vocabulary. "extremity" is a limb of which nothing more is said, "spine" several levels below
the neck or the sacrum."""
PAPER_LOCATIONS: tuple[str, ...] = (
    *("abdomen", "ankle", "breast", "chest", "elbow", "foot", "forearm", "hand", "hip", "upper_arm", "knee"),
    *("lower_leg", "lumbar_spine", "pelvis", "shoulder", "thigh", "thoracic_spine", "wrist"),
)
"""The 18 body locations that the method was pretrained on (arXiv 2506.12186)."""
FACE_BEARING = frozenset({"brain", "head", "face", "neck", "cervical_spine", "whole_body"})
_VAGUE = frozenset({"extremity"})
"""Gives way to any other location found in the header."""
_REGION_OF = {
    "prostate": "pelvis",
    "breast": "chest",
    "heart": "chest",
    "lumbar_spine": "spine",
    "thoracic_spine": "spine",
}
"""The region gives way to its part."""
_COIL_LOCATIONS = FACE_BEARING | {
    *("breast", "prostate", "shoulder", "upper_arm", "elbow", "forearm", "wrist", "hand"),
    *("hip", "thigh", "knee", "lower_leg", "ankle", "foot", "extremity"),
}

_FACE_STEMS = (
    ("brain", "BRAIN CEREBR CEREBEL PITUIT CRANI ENCEPHAL ENCEFAL MENING NEUROCRAN HIRN SCHADEL SCHAEDEL"),
    ("head", "HEAD SKULL CRANE"),
    ("face", "FACIAL ORBITA MAXILL MANDIB NASOPHA TEMPOROMANDIB"),
    ("cervical_spine", "CSPINE CERVICA WHOLESPINE TOTALSPINE HALSWIRBEL GANZWIRBEL"),
    ("neck", "NECK LARYN PHARYN CAROTI PAROTI THYROI HALS"),
)
_PLAIN_STEMS = (
    ("breast", "BREAST MAMMO"),
    ("prostate", "PROSTA"),
    ("abdomen", "ABDOM CHOLANGIO"),
)
_STEMS = tuple(
    (stem, location) for location, stems in (*_FACE_STEMS, *_PLAIN_STEMS) for stem in stems.split()
)
"""Faces first. Other stems are only those that no word for another part of the body contains."""

_AND = r"(?:AND |ET |UND |Y |E )?"
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
        (r"\bGAMMA KNIFE\b", "GAMMAKNIFE"),
        (r"\bNEURO\b(?!.*\b([TL]|LS|TL) ?SPINE\b)(?!.*\b(LUMBAR|LWS|BWS|SACRAL)\b)", "BRAIN"),
        # what moves in functional imaging is not what is imaged
        (rf"\bBOLD\b(?=.*\b{_MOVED}\b)|\b{_MOVED}\b(?=.*\bBOLD\b)", "BRAIN"),
        (r"\bARM (?![LR]\b)[A-Z0-9]\b", " "),  # of a trial
        (r"\b(WHOLE|TOTAL|FULL|COMPLETE|ENTIRE) SPINE\b|\bC ?T ?L ?SPINE\b", "WHOLESPINE"),
        (r"\bSPINE (WHOLE|TOTAL|FULL|COMPLETE|ENTIRE)\b", "WHOLESPINE"),
        (rf"\bC {_AND}[TL]\b( (AND )?L\b)?( SPINE\b)?", "CSPINE"),
        (rf"\bT {_AND}L ?SPINE\b|\bSPINE T {_AND}L\b", "TLSPINE"),
        (rf"\bTHORACIC (SPINE )?{_AND}LUMBAR\b|\bLUMBAR (SPINE )?{_AND}THORACIC\b", "TLSPINE"),
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

_SOURCES: tuple[tuple[str, Callable[[FrameHeader], str]], ...] = (
    ("BodyPartExamined", lambda header: header.body_part),
    ("RequestedProcedureDescription", lambda header: header.requested_procedure),
    ("StudyDescription", lambda header: header.study_description),
    ("SeriesDescription", lambda header: header.series_description),
    ("ProtocolName", lambda header: header.protocol_name),
    ("ProcedureAttributes", lambda header: header.procedures),
)
"""What may tell the anatomy, most trustworthy first."""
_PIXELS, _COIL, _NOTHING = "RecognizableVisualFeatures", "ReceiveCoilName", "none"
LOCATION_EVIDENCES: tuple[str, ...] = (_PIXELS, *(name for name, _ in _SOURCES), _COIL, _NOTHING)
"""The closed vocabulary of what a location may rest on."""
_Places = list[tuple[str, str]]
"""(location, evidence), most trustworthy first."""


def locate(header: FrameHeader) -> Finding:
    """The body location of an image; "unknown" if nothing tells."""
    if header.shows_face:
        return Finding("face", _PIXELS)
    found = [(place, name) for name, read in _SOURCES for place in locations_in(read(header))]
    found = _with_spine_levels(found)
    if not found:
        found = [(place, _COIL) for place in locations_in(header.coil) if place in _COIL_LOCATIONS]
    return Finding(*_decisive(found)) if found else Finding(UNKNOWN, _NOTHING)


def _decisive(found: _Places) -> tuple[str, str]:
    """A face, else the first place that is not vague, else the first; a part of it is more exact."""
    faces = (one for one in found if one[0] in FACE_BEARING)
    plain = (one for one in found if one[0] not in _VAGUE)
    first = next(faces, None) or next(plain, found[0])
    return next((one for one in found if _REGION_OF.get(one[0]) == first[0]), first)


def _with_spine_levels(found: _Places) -> _Places:
    """A spine is the one whose level another word tells, else it may be a cervical one."""
    levels = (place for place, _ in found if place in _SPINE_LEVELS)
    level = next(levels, "cervical_spine")
    return [(level if place == _SOME_SPINE else place, name) for place, name in found]


@lru_cache(maxsize=65536)
def locations_in(text: str) -> tuple[str, ...]:
    """Locations named in a text, in order of appearance; "some spine" if its level is not named."""
    sentence = plain_words(text)
    for pattern, replacement in _TERMS:
        sentence = pattern.sub(replacement, sentence)
    places = [place for place in map(_location_of_word, sentence.split()) if place]
    several = {"lumbar_spine", "thoracic_spine"}.issubset(places)
    return tuple("spine" if several and place in _SPINE_LEVELS else place for place in places)


def plain_words(text: str) -> str:
    """Upper case without accents, words parted by one space (also where only case parts them)."""
    bare = unicodedata.normalize("NFKD", _CAMEL.sub(" ", text).replace("ł", "l").replace("Ł", "L"))
    letters = "".join(character for character in bare if not unicodedata.combining(character))
    return _SEPARATORS.sub(" ", letters.upper()).strip()


def _location_of_word(word: str) -> str | None:
    """By the whole word without a trailing number, or by a stem inside it, faces first."""
    inside = (location for stem, location in _STEMS if stem in word)
    return _LOCATION_OF.get(word.rstrip("0123456789")) or next(inside, None)
