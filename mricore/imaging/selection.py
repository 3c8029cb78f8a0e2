"""Which series and exams enter a dataset, from headers alone (paper section 4.1)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable

from mricore.config.schema import Curation
from mricore.imaging.anatomy import FACE_BEARING, UNKNOWN, locate, locations_in
from mricore.imaging.headers import FrameHeader
from mricore.records import Level, Reason

Tally = Counter[tuple[Level, Reason]]
Order = Callable[[str], bytes]
"""A keyed hash: the same exams are drawn whatever the order of the files, and nobody can steer the draw."""

_NOISE = re.compile(
    r"\b(LEFT|RIGHT|LT|RT|BILATERAL|BILAT|WITH|WITHOUT|W|WO|AND|OR|CONTRAST|CM|GAD|GADOLINIUM|MRI?|ROUTINE)\b"
)


def select_series(
    headers: list[FrameHeader], policy: Curation, order: Order
) -> tuple[list[FrameHeader], Tally]:
    """Images whose anatomy is allowed, of at most ``exams_per_protocol`` exams per protocol.

    With ``one_exam_per_patient`` a patient gives one exam per protocol, as in the paper. Counts are of
    series for anatomy and of exams for sampling.
    """
    tally: Tally = Counter()
    allowed = _allowed_anatomy(headers, policy, tally)
    exams = _sampled_exams(allowed, policy, order, tally)
    return [header for header in allowed if header.study_uid in exams], tally


def protocol(header: FrameHeader) -> str:
    """What kind of exam this is: the study's description without side and contrast, else the location."""
    words = re.sub(r"[^A-Z]+", " ", (header.requested_procedure or header.study_description).upper())
    return " ".join(_NOISE.sub(" ", words).split()) or locate(header).value


def _allowed_anatomy(headers: list[FrameHeader], policy: Curation, tally: Tally) -> list[FrameHeader]:
    """A series is judged by all its images; in a study that shows a face, unknown series count as faces."""
    series: dict[str, list[FrameHeader]] = defaultdict(list)
    for header in headers:
        series[header.series_uid].append(header)
    excluded = set(policy.exclude_locations)
    facial_studies = {
        header.study_uid
        for header in headers
        if excluded & {place for place in locations_in(header.study_description) if place in FACE_BEARING}
    }
    allowed = []
    for members in series.values():
        locations = {locate(header).value for header in members}
        unknown = locations == {UNKNOWN}
        if locations & excluded or (unknown and members[0].study_uid in facial_studies):
            tally["series", Reason.FACIAL_ANATOMY] += 1
        elif unknown and policy.unknown_location == "exclude":
            tally["series", Reason.UNKNOWN_ANATOMY] += 1
        else:
            allowed.extend(members)
    return allowed


def _sampled_exams(headers: list[FrameHeader], policy: Curation, order: Order, tally: Tally) -> set[str]:
    """Study UIDs of the exams that are kept."""
    protocols: dict[str, dict[str, str]] = defaultdict(dict)
    protocol_of: dict[str, str] = {}
    for header in sorted(headers, key=lambda one: one.sop_uid):
        name = protocol_of.setdefault(header.study_uid, protocol(header))
        protocols[name][header.study_uid] = header.patient_key
    kept: set[str] = set()
    for exams in protocols.values():
        patients: set[str] = set()
        count = 0
        for exam in sorted(exams, key=order):
            if policy.one_exam_per_patient and exams[exam] in patients:
                tally["exam", Reason.OTHER_EXAM_OF_PATIENT] += 1
            elif count >= policy.exams_per_protocol:
                tally["exam", Reason.OVER_PROTOCOL_LIMIT] += 1
            else:
                kept.add(exam)
                patients.add(exams[exam])
                count += 1
    return kept
