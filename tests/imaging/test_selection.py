"""Selection: faces stay out, unknown stays out, and exams are drawn fairly whatever the order of files."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from frame_records import frame

from mricore.config.curation import Curation, Protocol
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.selection import (
    Exam,
    allowed_series,
    exam_protocol,
    sample_exams,
    series_of,
)
from mricore.records import Reason

POLICY = Curation()
ORDER = Pseudonymizer(b"k" * 32).order


def series(exam, number, patient="P1", images=2, location="unknown", **changes):
    """Images of one series; unless given, nothing tells its anatomy."""
    name = f"{exam}.{number}"
    return [
        frame(
            slice_id=f"{name}.{k}",
            series_id=name,
            exam_id=exam,
            patient_id=patient,
            location=location,
            **changes,
        )
        for k in range(images)
    ]


def kept_series(frames, policy=POLICY, order=ORDER, stored=()):
    """Names of the series that are taken up, and all rejects: what curation does, in memory."""
    exams = defaultdict(list)
    for one in series_of(frames):
        exams[one.exam_id].append(one)
    tally, allowed, candidates = Counter(), {}, []
    for name in sorted(exams):
        allowed[name], rejected = allowed_series(exams[name], policy)
        tally.update(rejected)
        protocol = exam_protocol(exams[name], policy, None)
        if allowed[name] and isinstance(protocol, Reason):
            tally["exam", protocol] += 1
        elif allowed[name]:
            candidates.append(Exam(name, exams[name][0].patient_id, protocol))
    drawn, rejected = sample_exams(candidates, policy, order, stored)
    tally.update(rejected)
    return sorted(one.series_id for name in drawn if name in allowed for one in allowed[name]), tally


def test_allowed_anatomy_passes():
    frames = series("1", 1, location="knee") + series("1", 2, location="knee")
    assert kept_series(frames) == (["1.1", "1.2"], Counter())


@pytest.mark.parametrize("place", POLICY.exclude_locations)
def test_a_series_that_may_show_a_face_is_left_out(place):
    kept, tally = kept_series(series("1", 1, location=place) + series("2", 1, "P2", location="knee"))
    assert kept == ["2.1"]
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 1})


def test_an_image_that_is_left_out_still_tells_that_a_face_is_near():
    """The localizer of a head exam says so, the series beside it may not."""
    frames = series("1", 1, location="head", reason="localizer") + series("1", 2)
    assert kept_series(frames) == ([], Counter({("series", Reason.FACIAL_ANATOMY): 1}))


def test_a_series_without_usable_images_is_counted_by_its_images_alone():
    assert kept_series(series("1", 1, location="knee", reason="derived")) == ([], Counter())


def test_one_image_of_a_face_condemns_its_whole_series():
    headers = series("1", 1, location="knee", images=5)
    headers[3] = replace(headers[3], location="head")
    assert kept_series(headers) == ([], Counter({("series", Reason.FACIAL_ANATOMY): 1}))


def test_an_unknown_series_beside_a_face_counts_as_a_face():
    headers = series("1", 1, location="brain") + series("1", 2) + series("2", 1)
    kept, tally = kept_series(headers)
    assert kept == []
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 2, ("series", Reason.UNKNOWN_ANATOMY): 1})


def test_a_known_series_beside_a_face_is_kept():
    headers = series("1", 1, location="brain") + series("1", 2, location="lumbar_spine")
    kept, tally = kept_series(headers)
    assert kept == ["1.2"]
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 1})


def test_unknown_anatomy_is_left_out_unless_the_policy_includes_it():
    headers = series("1", 1) + series("2", 1, "P2", location="head") + series("2", 2, "P2")
    assert kept_series(headers)[1]["series", Reason.UNKNOWN_ANATOMY] == 1
    kept, tally = kept_series(headers, Curation(unknown_location="include"))
    assert kept == ["1.1"]
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 2})


def test_the_policy_decides_which_anatomy_is_left_out():
    headers = series("1", 1, location="knee") + series("2", 1, "P2", location="brain")
    assert kept_series(headers, Curation(exclude_locations=("knee",)))[0] == ["2.1"]


def exams(count, patients=None, **texts):
    """One series per exam; exam k belongs to patient ``patients[k]``."""
    people = patients or range(count)
    return [
        one
        for k in range(count)
        for one in series(f"9.{k}", 1, f"P{people[k]}", **{"location": "knee", **texts})
    ]


def test_a_patient_gives_one_exam_per_protocol():
    headers = exams(4, [0, 0, 0, 1], protocol="knee")
    headers += series("8.1", 1, "P0", location="hip", protocol="hip")
    kept, tally = kept_series(headers)
    assert len(kept) == 3
    assert {"8.1.1", "9.3.1"} < set(kept)
    assert tally == Counter({("exam", Reason.OTHER_EXAM_OF_PATIENT): 2})
    everything, tally = kept_series(headers, Curation(one_exam_per_patient=False))
    assert len(everything) == 5
    assert not tally


def test_all_series_of_a_drawn_exam_are_kept():
    headers = [one for n in range(3) for one in series("1", n, location="knee")]
    assert kept_series(headers)[0] == ["1.0", "1.1", "1.2"]


def test_a_protocol_has_a_limit():
    headers = exams(10, protocol="knee") + series("8.1", 1, "P99", location="hip", protocol="hip")
    kept, tally = kept_series(headers, Curation(exams_per_protocol=3))
    assert len(kept) == 4
    assert "8.1.1" in kept
    assert tally == Counter({("exam", Reason.OVER_PROTOCOL_LIMIT): 7})


def test_a_second_exam_does_not_use_up_the_limit():
    headers = exams(6, [0, 0, 0, 0, 1, 2], protocol="knee")
    kept, tally = kept_series(headers, Curation(exams_per_protocol=3))
    assert len(kept) == 3
    assert tally["exam", Reason.OTHER_EXAM_OF_PATIENT] + tally["exam", Reason.OVER_PROTOCOL_LIMIT] == 3
    assert {"9.4.1", "9.5.1"} < set(kept)


def test_the_key_decides_which_exams_are_drawn():
    headers = exams(40, protocol="knee")
    policy = Curation(exams_per_protocol=10)
    draws = [kept_series(headers, policy, Pseudonymizer(bytes([k]) * 32).order)[0] for k in range(3)]
    assert draws[0] != draws[1] != draws[2] != draws[0]
    assert kept_series(headers, policy, Pseudonymizer(bytes([1]) * 32).order)[0] == draws[1]


def test_the_order_of_files_makes_no_difference():
    rng = np.random.default_rng(0)
    headers = [
        *exams(12, [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 8], protocol="knee"),
        *series("7.1", 1, "P0", location="brain"),
        *series("7.1", 2, "P0"),
        *series("7.2", 1, "P0"),
        *series("7.3", 1, "P3", location="hip", protocol="hip"),
    ]
    policy = Curation(exams_per_protocol=5)
    kept, tally = kept_series(headers, policy)
    assert len(tally) == 4
    for _ in range(20):
        shuffled = [headers[k] for k in rng.permutation(len(headers))]
        assert kept_series(shuffled, policy) == (kept, tally)


def test_exams_that_are_stored_stay_and_count():
    headers = exams(6, protocol="knee")
    stored = [Exam("9.0", "P0", "knee"), Exam("elsewhere", "P5", "knee")]
    kept, tally = kept_series(headers, Curation(exams_per_protocol=3), stored=stored)
    assert "9.0.1" in kept
    assert "9.5.1" not in kept
    assert len(kept) == 2
    assert tally["exam", Reason.OTHER_EXAM_OF_PATIENT] + tally["exam", Reason.OVER_PROTOCOL_LIMIT] == 4


def test_an_exam_without_a_protocol_is_not_wanted():
    headers = series("1", 1, location="knee", protocol="") + series("2", 1, "P2", location="knee")
    assert kept_series(headers) == (["2.1"], Counter({("exam", Reason.PROTOCOL_NOT_WANTED): 1}))


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"study key": "hip"}, "hip"),
        ({"accession": "hip"}, "hip"),
        ({"accession": "hip", "study key": Reason.FACIAL_ANATOMY}, Reason.FACIAL_ANATOMY),
        ({"accession": Reason.PROTOCOL_NOT_WANTED}, Reason.PROTOCOL_NOT_WANTED),
        ({"accession": Reason.PROTOCOL_NOT_WANTED, "study key": "hip"}, "hip"),
        ({"another": "hip"}, Reason.NOT_IN_EXAM_TABLE),
        ({}, Reason.NOT_IN_EXAM_TABLE),
        (None, "knee"),
    ],
)
def test_a_table_of_exams_overrules_the_headers(table, found):
    exam = series_of(series("1", 1, location="knee", accession_key="accession"))
    assert exam_protocol(exam, POLICY, table) == found


def test_of_several_protocols_the_first_of_the_policy_counts():
    protocols = tuple(Protocol(name=name, any_of=(name,)) for name in ("spine", "hip", "knee"))
    exam = series_of(series("1", 1, protocol="knee") + series("1", 2, protocol="hip"))
    assert exam_protocol(exam, Curation(protocols=protocols), None) == "hip"
    assert exam_protocol(exam, POLICY, {"study key": "knee"}) == "knee"
