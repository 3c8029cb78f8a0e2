"""Selection: faces stay out, unknown stays out, and exams are drawn fairly whatever the order of files."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from dicom_files import mr_header

from mricore.config.schema import Curation
from mricore.imaging.deidentify import Pseudonymizer
from mricore.imaging.selection import protocol, select_series
from mricore.records import Reason

POLICY = Curation()
ORDER = Pseudonymizer(b"k" * 32).order
BASE = replace(mr_header(), body_part="", series_description="", coil="")


def series(study, number, patient="P1", images=2, **texts):
    """Headers of one series; without texts nothing tells its anatomy."""
    uid = f"{study}.{number}"
    return [
        replace(
            BASE,
            **{
                "study_uid": study,
                "series_uid": uid,
                "sop_uid": f"{uid}.{k}",
                "patient_key": patient,
                **texts,
            },
        )
        for k in range(images)
    ]


def kept_series(headers, policy=POLICY, order=ORDER):
    selected, tally = select_series(headers, policy, order)
    return sorted({header.series_uid for header in selected}), tally


def test_allowed_anatomy_passes_untouched():
    headers = series("1", 1, body_part="KNEE") + series("1", 2, body_part="KNEE")
    selected, tally = select_series(headers, POLICY, ORDER)
    assert selected == headers
    assert not tally


@pytest.mark.parametrize(
    "texts",
    [
        {"body_part": "BRAIN"},
        {"body_part": "HEAD"},
        {"body_part": "NECK"},
        {"body_part": "CSPINE"},
        {"series_description": "orbits t1"},
        {"body_part": "KNEE", "study_description": "MR BRAIN"},
        {"coil": "Head 32"},
    ],
)
def test_a_series_that_may_show_a_face_is_left_out(texts):
    headers = series("1", 1, **texts) + series("2", 1, "P2", body_part="KNEE")
    kept, tally = kept_series(headers)
    assert kept == ["2.1"]
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 1})


def test_one_image_of_a_face_condemns_its_whole_series():
    headers = series("1", 1, body_part="KNEE", images=5)
    headers[3] = replace(headers[3], body_part="HEAD")
    assert kept_series(headers) == ([], Counter({("series", Reason.FACIAL_ANATOMY): 1}))


def test_an_unknown_series_beside_a_face_counts_as_a_face():
    headers = series("1", 1, body_part="BRAIN") + series("1", 2) + series("2", 1)
    kept, tally = kept_series(headers)
    assert kept == []
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 2, ("series", Reason.UNKNOWN_ANATOMY): 1})


def test_a_known_series_beside_a_face_is_kept():
    headers = series("1", 1, body_part="BRAIN") + series("1", 2, body_part="LSPINE")
    kept, tally = kept_series(headers)
    assert kept == ["1.2"]
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 1})


def test_unknown_anatomy_is_left_out_unless_the_policy_includes_it():
    headers = series("1", 1) + series("2", 1, "P2", body_part="HEAD") + series("2", 2, "P2")
    assert kept_series(headers)[1]["series", Reason.UNKNOWN_ANATOMY] == 1
    kept, tally = kept_series(headers, Curation(unknown_location="include"))
    assert kept == ["1.1"]
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 2})


def test_the_policy_decides_which_anatomy_is_left_out():
    headers = series("1", 1, body_part="KNEE") + series("2", 1, "P2", body_part="BRAIN")
    assert kept_series(headers, Curation(exclude_locations=("knee",)))[0] == ["2.1"]


def exams(count, patients=None, **texts):
    """One series per exam; exam k belongs to patient ``patients[k]``."""
    people = patients or range(count)
    return [
        one
        for k in range(count)
        for one in series(f"9.{k}", 1, f"P{people[k]}", **{"body_part": "KNEE", **texts})
    ]


def test_a_patient_gives_one_exam_per_protocol():
    headers = exams(4, [0, 0, 0, 1], study_description="MR KNEE")
    headers += series("8.1", 1, "P0", body_part="HIP", study_description="MR HIP")
    kept, tally = kept_series(headers)
    assert len(kept) == 3
    assert {"8.1.1", "9.3.1"} < set(kept)
    assert tally == Counter({("exam", Reason.OTHER_EXAM_OF_PATIENT): 2})
    everything, tally = kept_series(headers, Curation(one_exam_per_patient=False))
    assert len(everything) == 5
    assert not tally


def test_all_series_of_a_drawn_exam_are_kept():
    headers = [one for n in range(3) for one in series("1", n, body_part="KNEE")]
    assert kept_series(headers)[0] == ["1.0", "1.1", "1.2"]


def test_a_protocol_has_a_limit():
    headers = exams(10, study_description="MR KNEE") + series("8.1", 1, "P99", body_part="HIP")
    kept, tally = kept_series(headers, Curation(exams_per_protocol=3))
    assert len(kept) == 4
    assert "8.1.1" in kept
    assert tally == Counter({("exam", Reason.OVER_PROTOCOL_LIMIT): 7})


def test_a_second_exam_does_not_use_up_the_limit():
    headers = exams(6, [0, 0, 0, 0, 1, 2], study_description="MR KNEE")
    kept, tally = kept_series(headers, Curation(exams_per_protocol=3))
    assert len(kept) == 3
    assert tally["exam", Reason.OTHER_EXAM_OF_PATIENT] + tally["exam", Reason.OVER_PROTOCOL_LIMIT] == 3
    assert {"9.4.1", "9.5.1"} < set(kept)


def test_the_key_decides_which_exams_are_drawn():
    headers = exams(40, study_description="MR KNEE")
    policy = Curation(exams_per_protocol=10)
    draws = [kept_series(headers, policy, Pseudonymizer(bytes([k]) * 32).order)[0] for k in range(3)]
    assert draws[0] != draws[1] != draws[2] != draws[0]
    assert kept_series(headers, policy, Pseudonymizer(bytes([1]) * 32).order)[0] == draws[1]


def test_the_order_of_files_makes_no_difference():
    rng = np.random.default_rng(0)
    headers = [
        *exams(12, [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 8], study_description="MR KNEE LEFT"),
        *series("7.1", 1, "P0", body_part="BRAIN"),
        *series("7.1", 2, "P0"),
        *series("7.2", 1, "P0"),
        *series("7.3", 1, "P3", body_part="HIP"),
    ]
    policy = Curation(exams_per_protocol=5)
    kept, tally = kept_series(headers, policy)
    assert len(tally) == 4
    for _ in range(20):
        shuffled = [headers[k] for k in rng.permutation(len(headers))]
        assert kept_series(shuffled, policy) == (kept, tally)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MR KNEE LEFT WO CONTRAST", "MRI Knee Right w/ contrast"),
        ("MR KNEE", "mr knee 2"),
        ("MR ABDOMEN W WO CONTRAST", "MR Abdomen without IV contrast"),
        ("Knee L", "Knee R"),
    ],
)
def test_side_and_contrast_do_not_make_a_protocol(one, other):
    names = {protocol(series("1", 1, study_description=text)) for text in (one, other)}
    assert len(names) == 1


def test_different_exams_are_different_protocols():
    texts = ("MR KNEE", "MR HIP", "MR L SPINE", "MR T SPINE")
    assert len({protocol(series("1", 1, study_description=text)) for text in texts}) == 4


def test_a_protocol_without_description_is_its_procedure_or_location():
    assert protocol(series("1", 1, requested_procedure="MRI HIP LEFT")) == "HIP"
    assert protocol(series("1", 1, study_description="MR 1.5", body_part="KNEE")) == "knee"
