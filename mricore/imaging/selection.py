"""Which series and exams enter a dataset, from headers alone (paper section 4.1)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from mricore.config.schema import Curation
from mricore.imaging.anatomy import UNKNOWN, locate, plain_words
from mricore.imaging.headers import FrameHeader
from mricore.records import Level, Reason

Tally = Counter[tuple[Level, Reason]]
Order = Callable[[str], bytes]
"""A keyed hash: the same exams are drawn whatever the order of the files, and nobody can steer the draw."""

_SIDE_AND_CONTRAST = re.compile(
    r"\b(LEFT|RIGHT|LT|RT|[LR](?! SP)|BILATERAL|BILAT|BIL|BI|BOTH|WITH|WITHOUT|WWO|WOW|WO|W|O|AND|OR|THEN"
    r"|CONTRAST|CONT|CON|IV|INJ|DYE|CM|KM|GAD|GADO|GADOLINIUM|MRI?|MRT|ROUTINE|\d+)\b"
)


def select_series(
    headers: list[FrameHeader], policy: Curation, order: Order
) -> tuple[list[FrameHeader], Tally]:
    """Images whose anatomy is allowed, of at most ``exams_per_protocol`` exams per protocol.

    With ``one_exam_per_patient`` a patient gives one exam per protocol, as in the paper. Exams are drawn
    in the order of ``order(study UID)``. Counts are of series for anatomy and of exams for sampling.
    """
    tally: Tally = Counter()
    allowed = _allowed_anatomy(headers, policy, tally)
    exams = _sampled_exams(allowed, policy, order, tally)
    return [header for header in allowed if header.study_uid in exams], tally


def protocol(exam: Iterable[FrameHeader]) -> str:
    """What kind of exam this is: its description without side and contrast, else its location."""
    headers = list(exam)
    for texts in (
        {header.study_description for header in headers},
        {header.requested_procedure for header in headers},
    ):
        names = {" ".join(_SIDE_AND_CONTRAST.sub(" ", plain_words(text)).split()) for text in texts} - {""}
        if names:
            return min(names)
    return min(locate(header).value for header in headers)


def _allowed_anatomy(headers: list[FrameHeader], policy: Curation, tally: Tally) -> list[FrameHeader]:
    """A series is judged by all its images; beside a series that shows a face, an unknown one may too."""
    series: dict[tuple[str, str], list[FrameHeader]] = defaultdict(list)
    for header in headers:
        series[header.study_uid, header.series_uid].append(header)
    locations = {key: {locate(header).value for header in members} for key, members in series.items()}
    excluded = set(policy.exclude_locations)
    excluded_studies = {study for (study, _), found in locations.items() if found & excluded}
    allowed = []
    for key, members in series.items():
        unknown = locations[key] == {UNKNOWN}
        if locations[key] & excluded or (unknown and key[0] in excluded_studies):
            tally["series", Reason.FACIAL_ANATOMY] += 1
        elif unknown and policy.unknown_location == "exclude":
            tally["series", Reason.UNKNOWN_ANATOMY] += 1
        else:
            allowed.extend(members)
    return allowed


def _sampled_exams(headers: list[FrameHeader], policy: Curation, order: Order, tally: Tally) -> set[str]:
    """Study UIDs of the exams that are kept."""
    exams: dict[str, list[FrameHeader]] = defaultdict(list)
    for header in headers:
        exams[header.study_uid].append(header)
    by_protocol: dict[str, list[str]] = defaultdict(list)
    for uid, members in exams.items():
        by_protocol[protocol(members)].append(uid)
    kept: set[str] = set()
    for uids in by_protocol.values():
        patients: set[str] = set()
        taken = 0
        for uid in sorted(uids, key=lambda one: (order(one), one)):
            patient = min(header.patient_key for header in exams[uid])
            if policy.one_exam_per_patient and patient in patients:
                tally["exam", Reason.OTHER_EXAM_OF_PATIENT] += 1
            elif taken >= policy.exams_per_protocol:
                tally["exam", Reason.OVER_PROTOCOL_LIMIT] += 1
            else:
                kept.add(uid)
                patients.add(patient)
                taken += 1
    return kept
