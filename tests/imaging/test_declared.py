"""Images that somebody declares: their words, whether they may show a face, and their frames."""

import math
import re
from pathlib import Path

import pytest

from mricore.config.curation import Curation
from mricore.imaging.anatomy import FACE_BEARING, LOCATIONS
from mricore.imaging.declared import ORIENTATIONS, Declared, Grid, declared_volume, face_reason, word_of
from mricore.imaging.geometry import plane
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.sequences import SEQUENCES, VENDORS
from mricore.records import Reason

NAMES = Pseudonymizer(b"k" * 32)


TASKS = Path(__file__).parents[2] / "docs" / "tasks.md"


def grid(**changes):
    values = {"content": "ab", "shape": (3, 20, 30), "spacing": (4.0, 1.0, 2.0), "orientation": ()}
    return Grid(**{**values, "slope": 0.5, "intercept": -1.0, **changes})


def test_words_are_those_of_the_vocabularies_whatever_their_case():
    assert word_of("vendor", "GE") == "ge"
    assert word_of("sequence", "t1") == "T1"
    assert word_of("location", "Abdomen") == "abdomen"
    assert word_of("vendor", "Acme") == word_of("sequence", "") == "unknown"


@pytest.mark.parametrize(
    ("location", "shows_face", "unknown", "reason"),
    [
        ("abdomen", None, "exclude", None),
        ("abdomen", True, "exclude", Reason.FACIAL_ANATOMY),
        ("brain", None, "exclude", Reason.FACIAL_ANATOMY),
        ("brain", None, "include", Reason.FACIAL_ANATOMY),
        ("brain", False, "exclude", None),
        ("unknown", None, "exclude", Reason.UNKNOWN_ANATOMY),
        ("unknown", None, "include", None),
        ("unknown", False, "exclude", None),
        ("unknown", True, "include", Reason.FACIAL_ANATOMY),
    ],
)
def test_faces_stay_out_unless_somebody_says_that_none_is_shown(location, shows_face, unknown, reason):
    policy = Curation(unknown_location=unknown)
    assert face_reason({location}, Declared(shows_face=shows_face), policy) == reason


def test_anatomy_that_a_policy_leaves_out_for_other_reasons_stays_out_without_a_face_too():
    policy = Curation(exclude_locations=("prostate", "brain"))
    assert face_reason({"prostate"}, Declared(shows_face=False), policy) == Reason.FACIAL_ANATOMY
    for location in set(LOCATIONS) - FACE_BEARING - {"prostate", "unknown"}:
        assert face_reason({location}, Declared(), policy) is None


def test_a_declared_volume_has_evenly_spaced_frames_that_say_what_was_declared():
    declared = Declared("knee", "PD", shows_face=False)
    volume = declared_volume(grid(orientation=ORIENTATIONS["sagittal"]), ("task", "p"), declared, NAMES)
    assert volume.spacing_slice == 4
    assert [frame.file for frame in volume.frames] == [0, 1, 2]
    assert len({frame.slice_id for frame in volume.frames}) == 3
    assert [abs(frame.position[0]) for frame in volume.frames] == [0, 4, 8]
    first = volume.frames[0]
    assert (first.location, first.location_evidence) == ("knee", "TaskDeclaration")
    assert (first.sequence, first.sequence_evidence) == ("PD", "TaskDeclaration")
    assert (first.vendor, first.vendor_evidence) == ("unknown", "none")
    assert (first.rows, first.columns, first.spacing) == (20, 30, (1.0, 2.0))
    assert (first.slope, first.intercept) == (0.5, -1.0)
    assert math.isnan(first.echo_time)


def test_pseudonyms_are_of_the_pixels_and_those_of_patients_of_their_names():
    def ids(content="ab", patient=("task", "p"), names=NAMES):
        first = declared_volume(grid(content=content), patient, Declared(), names).frames[0]
        return first.slice_id, first.series_id, first.exam_id, first.patient_id

    assert ids() == ids()
    assert not set(ids()) & set(ids(names=Pseudonymizer(b"o" * 32)))
    assert ids()[:3] == ids(patient=("task", "q"))[:3]
    assert ids()[3] == ids(content="cd")[3] != ids(patient=("other", "p"))[3]
    assert not set(ids()[:3]) & set(ids(content="cd")[:3])


@pytest.mark.parametrize(
    ("key", "words"),
    [("location", LOCATIONS), ("sequence", SEQUENCES), ("vendor", VENDORS), ("plane", ORIENTATIONS)],
)
def test_the_words_that_a_declaration_may_use_are_documented(key, words):
    row = next(line for line in TASKS.read_text().splitlines() if line.startswith(f"| `{key}` |"))
    assert set(re.findall(r"`(\w+)`", row)) >= set(words) - {"unknown"}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_declared_planes_are_what_they_are_called(name):
    assert plane(ORIENTATIONS[name]) == name


def test_without_an_orientation_the_plane_is_unknown():
    assert plane(()) == "unknown"
