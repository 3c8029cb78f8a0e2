"""Protocols: report types by the words of a policy, against a slow reference and a public archive."""

import re
import unicodedata
from collections import Counter

import numpy as np
import pytest

from mricore.config.curation import Curation, Protocol
from mricore.config.policy import load_policy
from mricore.imaging.anatomy import FACE_BEARING, locations_in
from mricore.imaging.protocols import has_excluded_words, protocol_of, protocol_of_exam

ANY = Curation()
EXAMPLE = load_policy("musculoskeletal")
LIMBS_AND_SPINE = {
    *(
        "thoracic_spine",
        "lumbar_spine",
        "spine",
        "shoulder",
        "upper_arm",
        "elbow",
        "forearm",
        "wrist",
        "hand",
    ),
    *("hip", "thigh", "knee", "lower_leg", "ankle", "foot", "extremity"),
}
INDEX = "metadata/idc_mr_series_v25.parquet"


def policy(*protocols):
    """A policy from (name, any, not)."""
    return Curation(
        protocols=tuple(Protocol(name=name, any_of=some, none_of=none) for name, some, none in protocols)
    )


def slow_protocol(text, named):
    """The same rule by lists of words."""

    def words(written):
        parted = re.sub("([a-z])([A-Z])", r"\1 \2", written)
        letters = (one for one in unicodedata.normalize("NFD", parted) if unicodedata.category(one) != "Mn")
        return re.findall("[a-z0-9]+", "".join(letters).lower())

    def has(phrase):
        all_words, wanted = words(text), words(phrase)
        return any(all_words[i : i + len(wanted)] == wanted for i in range(len(all_words)))

    for one in named.protocols:
        if any(map(has, one.any_of)) and not any(map(has, one.none_of)):
            return one.name
    return None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MR KNEE LEFT WO CONTRAST", "MRI Knee Right w/ contrast"),
        ("MR KNEE", "mr knee 2"),
        ("MR KNEE 3T", "MR KNEE 1.5T"),
        ("MR ABDOMEN W WO CONTRAST", "MR Abdomen without IV contrast"),
        ("MRI left shoulder with and without contrast", "MRI right shoulder without contrast"),
        ("Knee L", "Knee R"),
        ("MRT Knie links mit KM", "MRT KNIE RECHTS OHNE KM"),
        ("IRM Épaule gauche", "IRM EPAULE DROITE"),
    ],
)
def test_side_and_contrast_do_not_make_a_protocol(one, other):
    assert protocol_of(one, ANY) == protocol_of(other, ANY) is not None


def test_different_exams_are_different_protocols():
    texts = ("MR KNEE", "MR HIP", "MR L SPINE", "MR L/S SPINE", "MR T SPINE", "MR PELVIS")
    assert len({protocol_of(text, ANY) for text in texts}) == len(texts)


@pytest.mark.parametrize("text", ["", "  ", "MR", "MRI with and without contrast", "MR 1.5", "3T"])
def test_a_text_without_more_than_side_and_contrast_is_no_protocol(text):
    assert protocol_of(text, ANY) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MRI KNEE LEFT", "knee"),
        ("mri_knee+c", "knee"),
        ("MR Épaule", "shoulder"),
        ("IRM E\u0301PAULE", "shoulder"),
        ("MR TibFib", "leg"),
        ("MR tib-fib", "leg"),
        ("MR tib", None),
        ("MR fib tib", None),
        ("MR KNEES", None),
        ("MR xknee", None),
        ("MR knee replacement", None),
        ("MR knee, replacement", None),
        ("MR knee: ligament replacement", "knee"),
        ("", None),
    ],
)
def test_phrases_are_found_as_whole_words_whatever_their_case_and_accents(text, found):
    named = policy(
        ("knee", ("knee",), ("Knee Replacement",)),
        ("shoulder", ("épaule",), ()),
        ("leg", ("Tib Fib",), ()),
    )
    assert protocol_of(text, named) == found


def test_the_order_in_the_file_decides_and_not_the_order_in_the_text():
    special, general = ("arthrography", ("arthrogram",), ()), ("shoulder", ("shoulder",), ())
    texts = ("MR shoulder arthrogram", "arthrogram of the shoulder")
    assert {protocol_of(text, policy(special, general)) for text in texts} == {"arthrography"}
    assert {protocol_of(text, policy(general, special)) for text in texts} == {"shoulder"}


def test_an_exam_with_several_report_types_is_the_protocol_that_stands_first():
    named = policy(("z", ("knee",), ()), ("a", ("hip",), ()))
    for texts in (["MR hip", "MR knee", "MR head"], ["MR knee", "MR head", "MR hip"]):
        assert protocol_of_exam(texts, named) == "z"
    assert protocol_of_exam(["MR head", "MR hip"], named) == "a"
    assert protocol_of_exam(["MR head"], named) is None
    assert protocol_of_exam([], named) is None
    assert protocol_of_exam(["MR knee", "MR hip", "MR"], ANY) == protocol_of("MR hip", ANY)


def test_protocols_are_those_of_a_slow_reference():
    """Texts at random from the words of the example's phrases, so that most have several candidates."""
    phrases = [phrase for one in EXAMPLE.protocols for phrase in (*one.any_of, *one.none_of)]
    rng = np.random.default_rng(0)
    found = Counter()
    for _ in range(1500):
        parts = [str(part) for part in rng.choice([*phrases, "mri", "left", "the", "of"], rng.integers(1, 4))]
        text = str(rng.choice([" ", "-", "_ ", ", ", "^"])).join(parts)
        text = text.title() if rng.random() < 0.5 else text.upper()
        found[protocol_of(text, EXAMPLE)] += 1
        assert protocol_of(text, EXAMPLE) == slow_protocol(text, EXAMPLE), text
    assert set(found) == {one.name for one in EXAMPLE.protocols} | {None}


def test_policies_do_not_share_what_they_found():
    """Protocols of one name are looked up under one hash."""
    for word in ("knee", "hip"):
        assert protocol_of("MR knee", policy(("same", (word,), ()))) == ("same" if word == "knee" else None)


@pytest.mark.parametrize(
    ("texts", "excluded"),
    [
        (("KNEE", "Post-Mortem"), True),
        (("post", "mortem"), False),
        (("HEAD^SMALL ANIMAL",), True),
        (("animals",), False),
        (("specimens", "exvivo"), False),
        (("t1 EX  VIVO",), True),
        (("",), False),
        ((), False),
    ],
)
def test_excluded_words_are_whole_words_of_one_text(texts, excluded):
    assert has_excluded_words(texts, ANY) is excluded
    assert not has_excluded_words(texts, Curation(exclude_words=()))


@pytest.mark.parametrize(
    "text",
    [
        "MRI brain and lumbar spine",
        "MR cervical and thoracic spine",
        "MR C/T spine",
        "MR C- and T-spine",
        "MRI CTL spine",
        "MR whole spine",
        "MR entire spine, lumbar",
        "MR spine",
        "PET/MR skull base to mid thigh",
        "MR_Skull_MidThigh",
        "whole body MRI with hips",
        "MR neck and shoulder",
        "MR brachial plexus left arm",
        "MR HWS/BWS",
        "Schädel und LWS",
        "fMRI hand motor task",
        "MR head, feet first",
    ],
)
def test_the_example_takes_no_report_type_that_names_what_shows_a_face(text):
    assert protocol_of(text, EXAMPLE) is None


@pytest.fixture(scope="module")
def series(real_data):
    """Collection, study, descriptions of study and series, body part of 128,143 public series."""
    parquet = pytest.importorskip("pyarrow.parquet")
    names = ["collection_id", "study_code", "StudyDescription", "SeriesDescription", "BodyPartExamined"]
    table = parquet.read_table(real_data / INDEX, columns=names)
    return list(zip(*([value or "" for value in table[name].to_pylist()] for name in names), strict=True))


@pytest.mark.real_data
def test_the_example_finds_the_limbs_and_spines_of_a_public_archive_and_no_face(series):
    exams = {study: text for _, study, text, *_ in series}
    counts = Counter(exams.values())
    by_protocol, missed = Counter(), 0
    for text, count in counts.items():
        name = protocol_of(text, EXAMPLE)
        assert name == slow_protocol(text, EXAMPLE), text
        places = set(locations_in(text))
        if name:
            assert not places & FACE_BEARING, text
            by_protocol[name] += count
        elif places & LIMBS_AND_SPINE and not places & FACE_BEARING:
            missed += count
    assert len(exams) == 16970
    assert by_protocol.total() > 150
    assert missed < 0.03 * by_protocol.total()


@pytest.mark.real_data
def test_the_words_left_out_by_default_hit_animals_and_the_dead_and_nobody_else(series):
    hits = Counter(row[0] for row in series if has_excluded_words(row[2:], ANY))
    assert hits == {"icdc_glioma": 227, "nlm_visible_human_project": 12}


@pytest.mark.real_data
def test_report_types_of_a_public_archive_fall_together_without_side_and_contrast(series):
    texts = {text for _, _, text, *_ in series}
    protocols = {protocol_of(text, ANY) for text in texts} - {None}
    assert 100 < len(protocols) < 0.7 * len(texts)
