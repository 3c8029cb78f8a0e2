"""Anatomy: a face never slips through, other words count as whole words, and the coil speaks last."""

from dataclasses import replace

import pytest
from dicom_files import mr_header
from pydicom.dataset import Dataset

from mricore.config.curation import Curation
from mricore.imaging.anatomy import (
    FACE_BEARING,
    LOCATION_EVIDENCES,
    LOCATIONS,
    PAPER_LOCATIONS,
    UNKNOWN,
    Finding,
    locate,
    locations_in,
)


def coded(**attributes):
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return item


SILENT = replace(
    mr_header(),
    body_part="",
    requested_procedure="",
    study_description="",
    series_description="",
    protocol_name="",
    coil="",
)


def place(**texts):
    return locate(replace(SILENT, **texts)).value


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("KNEE", "knee"),
        ("LSPINE", "lumbar_spine"),
        ("TSPINE", "thoracic_spine"),
        ("L-SPINE", "lumbar_spine"),
        ("LSSPINE", "lumbar_spine"),
        ("TLSPINE", "spine"),
        ("SSPINE", "spine"),
        ("CSPINE", "cervical_spine"),
        ("C-spine", "cervical_spine"),
        ("CERVICAL SPINE", "cervical_spine"),
        ("WHOLE SPINE", "cervical_spine"),
        ("BRAIN", "brain"),
        ("HEAD", "head"),
        ("HEADNECK", "head"),
        ("SKULL", "head"),
        ("ORBIT", "face"),
        ("NECK", "neck"),
        ("ABDOMEN", "abdomen"),
        ("PELVIS", "pelvis"),
        ("PROSTATE", "prostate"),
        ("BREAST", "breast"),
        ("HEART", "heart"),
        ("CHEST", "chest"),
        ("SHOULDER", "shoulder"),
        ("EXTREMITY", "extremity"),
        ("WHOLEBODY", "whole_body"),
        ("", UNKNOWN),
        ("OTHER", UNKNOWN),
    ],
)
def test_body_part_examined_is_understood(text, location):
    assert place(body_part=text) == location


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("MR KNEE LEFT WO CONTRAST", "knee"),
        ("MR Lumbar Spine", "lumbar_spine"),
        ("MRI cervical spine", "cervical_spine"),
        ("mr brain w/wo", "brain"),
        ("IRM du genou", "knee"),
        ("MRT Schädel", "brain"),
        ("RM tête", "head"),
        ("MR upper leg", "thigh"),
        ("MR lower leg", "lower_leg"),
        ("sag_t1_kneeLeft", "knee"),
        ("WIPBrain", "brain"),
        ("pituitary dyn", "brain"),
        ("MRI TEMPORAL BONE", "brain"),
        ("uterine cervical cancer", "pelvis"),
        ("cervix", "pelvis"),
        ("sinus tarsi", "foot"),
        ("coronary sinus", "heart"),
        ("pancreatic head", "abdomen"),
        ("bladder neck", "pelvis"),
        ("knee2", "knee"),
        ("t1 tse cor", UNKNOWN),
    ],
)
@pytest.mark.parametrize(
    "attribute", ["study_description", "series_description", "protocol_name", "requested_procedure"]
)
def test_descriptions_are_understood(attribute, text, location):
    assert place(**{attribute: text}) == location


@pytest.mark.parametrize(
    "text",
    ["femoral head", "FEMUR HEAD", "head of the left femur", "Femoral-Neck", "neck of femur", "radius head"],
)
def test_a_head_of_a_bone_is_no_face(text):
    assert place(body_part="THIGH", study_description=text) not in FACE_BEARING
    assert place(study_description=text) not in {*FACE_BEARING, UNKNOWN}


@pytest.mark.parametrize("text", ["femoral head and brain", "head, femoral head", "HEAD FEMUR BRAIN"])
def test_a_face_beside_a_bone_stays_a_face(text):
    assert place(study_description=text) in FACE_BEARING


@pytest.mark.parametrize("text", ["head first supine", "HEAD FIRST", "feet first", "cranio-caudal"])
def test_how_the_patient_lies_tells_nothing(text):
    assert place(series_description=text) == UNKNOWN


@pytest.mark.parametrize(
    "text",
    ["chip", "whip", "thirsty", "charm", "legend", "handle", "footer", "alarm", "kneeling", "shipment"],
)
def test_other_words_count_only_as_whole_words(text):
    assert place(series_description=text) == UNKNOWN


@pytest.mark.parametrize("text", ["hnbrain", "skullbase", "neuroBRAINlab", "cranial", "carotids3d"])
def test_a_face_counts_inside_a_longer_word(text):
    assert place(series_description=text) in FACE_BEARING


@pytest.mark.parametrize("attribute", ["study_description", "series_description", "protocol_name"])
def test_a_face_anywhere_wins_over_other_anatomy(attribute):
    found = locate(replace(SILENT, body_part="KNEE", **{attribute: "brain"}))
    assert found.value == "brain"
    assert found.evidence != "BodyPartExamined"


def test_body_part_examined_comes_before_descriptions():
    assert place(body_part="KNEE", study_description="MR hip") == "knee"


REALISTIC = {
    "abdomen": ("MRI ABDOMEN W&W/O CONTRAST", "MRT Oberbauch", "MR jamy brzusznej", "MRCholangiography"),
    "ankle": ("MR ANKLE LEFT WO", "OSG links", "IRM cheville"),
    "breast": ("MRI BREAST BILATERAL W/WO", "CONTRABREAST (LEFT)", "MR BRST BI", "ISPY2_MRI_T0"),
    "chest": ("MRI CHEST W WO", "RM torax", "MRT Thorax"),
    "elbow": ("MR ELBOW RIGHT", "MRT Ellenbogen rechts", "RM gomito"),
    "foot": ("MRI FOREFOOT LT", "MRT Fuß links", "IRM pied gauche"),
    "forearm": ("MR LOWER ARM", "FOREARM^ROUTINE", "MRT Unterarm"),
    "hand": ("HAND_LEFT_W_O__W_CONT", "MR THUMB", "MR fingers 2-4"),
    "hip": ("MR HIPS BILATERAL", "MRT Hüfte", "IRM HANCHE DROITE C- C+"),
    "upper_arm": ("73220_MRI_Humerus_w__w_o_Contrast_Left", "MR UPPER ARM", "MRT Oberarm"),
    "knee": ("MR KNEE LEFT WO CONTRAST", "RM rodilla", "MRT Knie rechts"),
    "lower_leg": ("MR TIB/FIB LT", "MRI CALF", "MRT Unterschenkel"),
    "lumbar_spine": ("MRI LUMBAR SPINE W/O DYE", "LWS nativ", "RACHIS LOMBAIRE", "SPINE^LUMBAR"),
    "pelvis": ("MRI PELVIS WITH CONTRAST", "MRT Becken", "RESSONANCIA MAGNETICA DE PELVE"),
    "shoulder": ("MR SHOULDER RT", "IRM Extremites Gauche Epaule", "MRT Schulter"),
    "thigh": ("MRI_FEMUR_LEFT", "MR UPPER LEG", "IRM - CUISSE GAUCHE"),
    "thoracic_spine": ("MRI THORACIC SPINE WITH AND WITHOUT CONTRAST", "MR_Spine_Thoracic", "BWS sag"),
    "wrist": ("MR WRIST RT WO", "MRT Handgelenk", "RM muñeca derecha"),
}


@pytest.mark.parametrize("location", PAPER_LOCATIONS)
def test_every_location_of_the_paper_is_known_by_realistic_descriptions(location):
    for text in REALISTIC[location]:
        assert place(study_description=text) == location
        assert place(series_description=text) == location


def test_the_paper_has_18_locations_and_none_shows_a_face():
    assert len(set(PAPER_LOCATIONS)) == 18
    assert set(PAPER_LOCATIONS) <= set(LOCATIONS) - FACE_BEARING


def test_a_vague_word_gives_way_to_a_better_one():
    assert place(body_part="EXTREMITY", study_description="MR ankle") == "ankle"


@pytest.mark.parametrize("words", ["", "t1 vibe dixon legs", "thorax"])
def test_a_whole_body_has_a_face(words):
    assert place(body_part="WHOLEBODY", series_description=words) == "whole_body"


@pytest.mark.parametrize(
    "text",
    [
        "SPINE",
        "Wirbelsäule",
        "SPINE^CERV",
        "MR CERV SPINE WO",
        "SPINE C WITHOUT",
        "SPINE TOTAL",
        "SPINE WHOLE",
        "C AND T SPINE",
        "C/T SPINE",
        "C & L SPINE",
        "MR SPINE CERVICAL TUMOR W WO",
        "Halswirbelsäule",
        "Ganzwirbelsäule sag",
        "SPINE t2 C2/3",
        "columna",
    ],
)
def test_a_spine_is_cervical_unless_another_level_is_told(text):
    assert place(study_description=text) == "cervical_spine"
    assert place(body_part="SPINE", series_description=text) == "cervical_spine"


def test_the_level_of_a_spine_may_stand_in_another_attribute():
    for text, level in (
        ("MR LUMBAR", "lumbar_spine"),
        ("LSPINE", "lumbar_spine"),
        ("LWS", "lumbar_spine"),
        ("T-Spine", "thoracic_spine"),
        ("thoracic spine", "thoracic_spine"),
        ("sacrum", "spine"),
    ):
        assert place(body_part="SPINE", study_description=text) == level
    assert place(body_part="TSPINE", series_description="MobiView SAG T2 C/T PRE") == "cervical_spine"


@pytest.mark.parametrize(
    "text",
    [
        "MR thoracic and lumbar spine",
        "T & L SPINE",
        "T/L-spine",
        "spine T+L",
        "TL SPINE",
        "MRI LUMBAR SPINE / THORACIC SPINE",
        "thoracolumbar spine",
    ],
)
def test_two_levels_below_the_neck_are_a_spine(text):
    assert place(study_description=text) == "spine"


@pytest.mark.parametrize(
    ("part", "text", "location"),
    [
        ("PELVIS", "MR PROSTATE WO+W CONTRAST", "prostate"),
        ("CHEST", "MR BREAST BILAT", "breast"),
        ("CHEST", "cardiac MRI", "heart"),
        ("TLSPINE", "MR LUMBAR SPINE", "lumbar_spine"),
        ("PROSTATE", "MR PELVIS", "prostate"),
        ("PELVIS", "MR HIP", "pelvis"),
        ("CHEST", "MR BREAST, NECK", "neck"),
    ],
)
def test_a_region_gives_way_to_its_part_but_to_nothing_else(part, text, location):
    assert place(body_part=part, study_description=text) == location


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("", "t1_vibe_radial_head"),
        ("", "3D RADIAL NECK"),
        ("", "ep2d_bold_finger_tapping"),
        ("", "BOLD hand motor"),
        ("KNEE", "NEURO^ROUTINE"),
        ("", "RM CRANEO Y COLUMNA LUMBAR"),
        ("", "Halsweichteile und Thorax"),
        ("", "MRT Schädelbasis Leber"),
        ("LSPINE", "RM ENCEFALO"),
    ],
)
def test_other_words_do_not_hide_a_face(part, text):
    assert place(body_part=part, study_description=text) in FACE_BEARING


def test_words_with_two_meanings_go_by_their_neighbours():
    assert place(study_description="MR elbow radial head fracture") == "elbow"
    assert place(study_description="Neuro^LSpine") == "lumbar_spine"
    assert place(study_description="TRIAL ARM 2") == UNKNOWN
    assert place(study_description="MR ARM L") == "upper_arm"


@pytest.mark.parametrize(
    "attributes",
    [
        {"PerformedProcedureStepDescription": "MR CERVICAL SPINE"},
        {"RequestAttributesSequence": [coded(RequestedProcedureDescription="MRI BRAIN")]},
        {"RequestAttributesSequence": [coded(), coded(ScheduledProcedureStepDescription="orbits")]},
        {"AnatomicRegionSequence": [coded(CodeMeaning="Neck")]},
        {"RecognizableVisualFeatures": "YES"},
    ],
)
def test_every_standard_attribute_may_tell_of_a_face(attributes):
    assert locate(mr_header(BodyPartExamined="LSPINE", **attributes)).value in FACE_BEARING


def test_the_coil_is_asked_only_if_nothing_else_tells():
    assert locate(replace(SILENT, coil="Knee 8ch")) == Finding("knee", "ReceiveCoilName")
    assert place(coil="Knee 8ch", study_description="MR ankle") == "ankle"
    assert place(coil="Head 32") == "head"
    assert place(coil="Head 32", body_part="KNEE") == "knee"


@pytest.mark.parametrize(
    "coil", ["Body Matrix", "Spine Matrix", "Torso array", "Abdomen 16", "Cardiac", "Flex L"]
)
def test_a_coil_that_serves_every_part_tells_nothing(coil):
    assert place(coil=coil) == UNKNOWN


def test_nothing_is_unknown():
    assert locate(SILENT) == Finding(UNKNOWN, "none")


def test_evidence_names_the_attribute_and_never_its_text():
    found = locate(replace(SILENT, study_description="ZORBLATT knee"))
    assert found == Finding("knee", "StudyDescription")


def test_the_vocabulary_is_closed():
    assert len(set(LOCATIONS)) == len(LOCATIONS)
    assert FACE_BEARING.issubset(LOCATIONS)
    assert set(Curation().exclude_locations) == FACE_BEARING
    for text in ("femoral head of the knee", "C-spine, orbit", "lower limb", "whole body 12 brain", "foo"):
        assert set(locations_in(text)).issubset(LOCATIONS)
    assert UNKNOWN in LOCATIONS


@pytest.mark.parametrize(
    ("evidence", "texts"),
    [
        ("RecognizableVisualFeatures", {"shows_face": True}),
        ("BodyPartExamined", {"body_part": "KNEE"}),
        ("RequestedProcedureDescription", {"requested_procedure": "MR knee"}),
        ("StudyDescription", {"study_description": "MR knee"}),
        ("SeriesDescription", {"series_description": "knee"}),
        ("ProtocolName", {"protocol_name": "knee"}),
        ("ProcedureAttributes", {"procedures": "knee"}),
        ("ReceiveCoilName", {"coil": "knee"}),
        ("none", {}),
    ],
)
def test_the_evidence_is_a_word_of_a_closed_vocabulary(evidence, texts):
    assert locate(replace(SILENT, **texts)).evidence == evidence
    assert evidence in LOCATION_EVIDENCES
    assert len(LOCATION_EVIDENCES) == 9


def test_locations_are_named_in_order_of_appearance():
    assert locations_in("knee and ankle, then hip") == ("knee", "ankle", "hip")


PARTS_OF_THE_HEAD = (
    "TMJ JAW MANDIBLE MAXILLA EYE SINUS EAR TONGUE PAROTID PITUITARY IAC SELLA STROKE GLIOMA TRIGEMINAL "
    "COCHLEA LARYNX THYROID CAROTID ORBITS NASOPHARYNX"
)


@pytest.mark.parametrize("word", PARTS_OF_THE_HEAD.split())
def test_words_for_parts_of_the_head_count(word):
    assert FACE_BEARING & set(locations_in(f"MR {word} wo"))
