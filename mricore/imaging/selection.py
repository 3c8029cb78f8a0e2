"""Which series and exams enter a dataset, from headers alone (paper section 4.1)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mricore.config.curation import Curation
from mricore.imaging.anatomy import UNKNOWN
from mricore.imaging.frames import Frame
from mricore.records import Level, Reason

Tally = Counter[tuple[Level, Reason]]
Order = Callable[[str], bytes]
"""A keyed hash: the same exams are drawn whatever the order of the files, and nobody can steer the draw."""


@dataclass(frozen=True)
class Series:
    """What selection needs of a series: ``images`` are those that nothing rules out so far.

    ``locations`` and ``protocols`` are what its images say, ``keys`` find its exam in a table of exams.
    ``study`` and ``uid`` are of the UIDs alone: files of one study whose patient is not told alike belong to
    one body all the same.
    """

    study: str
    uid: str
    series_id: str
    exam_id: str
    patient_id: str
    images: int
    locations: frozenset[str]
    protocols: frozenset[str]
    keys: frozenset[str]

    def joined(self, other: Series) -> Series:
        """The same series with the images of another part of it."""
        return Series(
            self.study,
            self.uid,
            self.series_id,
            self.exam_id,
            self.patient_id,
            self.images + other.images,
            self.locations | other.locations,
            self.protocols | other.protocols,
            self.keys | other.keys,
        )


@dataclass(frozen=True)
class Exam:
    """One exam as a candidate of the draw."""

    exam_id: str
    patient_id: str
    protocol: str


def series_of(frames: Iterable[Frame]) -> list[Series]:
    """The series of these images, in order of their first image; those left out count for the anatomy."""
    found: dict[str, Series] = {}
    for frame in frames:
        one = Series(
            frame.study_key,
            frame.series_key,
            frame.series_id,
            frame.exam_id,
            frame.patient_id,
            int(not frame.reason),
            frozenset({frame.location}),
            frozenset({frame.protocol} - {""}),
            frozenset({frame.accession_key, frame.study_key} - {""}),
        )
        known = found.get(frame.series_id)
        found[frame.series_id] = known.joined(one) if known else one
    return list(found.values())


def allowed_series(study: Sequence[Series], policy: Curation) -> tuple[list[Series], Tally]:
    """The series of one study whose anatomy is allowed and that have images left.

    A series is judged by all its images; beside a series that shows a face, an unknown one may too.
    """
    tally: Tally = Counter()
    excluded = set(policy.exclude_locations)
    locations: dict[str, set[str]] = defaultdict(set)
    for series in study:
        locations[series.uid] |= series.locations
    beside_a_face = any(found & excluded for found in locations.values())
    allowed = []
    for series in (one for one in study if one.images):
        unknown = locations[series.uid] == {UNKNOWN}
        if locations[series.uid] & excluded or (unknown and beside_a_face):
            tally["series", Reason.FACIAL_ANATOMY] += 1
        elif unknown and policy.unknown_location == "exclude":
            tally["series", Reason.UNKNOWN_ANATOMY] += 1
        else:
            allowed.append(series)
    return allowed, tally


def exam_protocol(
    exam: Sequence[Series], policy: Curation, table: Mapping[str, str | Reason] | None
) -> str | Reason:
    """The protocol of an exam, or why it is not wanted; of several the first one of the policy.

    ``table`` maps the keys of a hospital's table of exams to protocols, or to the reason against them;
    without a table the headers tell.
    """
    if table is None:
        named = frozenset[str]().union(*(series.protocols for series in exam))
        return _first(named, policy)
    keys = frozenset[str]().union(*(series.keys for series in exam))
    found = [table[key] for key in keys if key in table]
    if not found:
        return Reason.NOT_IN_EXAM_TABLE
    if Reason.FACIAL_ANATOMY in found:
        return Reason.FACIAL_ANATOMY
    return _first({name for name in found if not isinstance(name, Reason)}, policy)


def _first(names: Collection[str], policy: Curation) -> str | Reason:
    listed = (protocol.name for protocol in policy.protocols if protocol.name in names)
    return next(listed, None) or min(names, default=Reason.PROTOCOL_NOT_WANTED)


def sample_exams(
    exams: Iterable[Exam], policy: Curation, order: Order, stored: Collection[Exam] = ()
) -> tuple[set[str], Tally]:
    """Ids of the exams to keep: at most ``exams_per_protocol`` of each protocol, drawn in ``order``.

    With ``one_exam_per_patient`` a patient gives one exam per protocol, as in the paper. Exams that are
    ``stored`` already stay, and count.
    """
    tally: Tally = Counter()
    kept = {exam.exam_id for exam in stored}
    patients: dict[str, set[str]] = defaultdict(set)
    taken: Counter[str] = Counter()
    for exam in stored:
        patients[exam.protocol].add(exam.patient_id)
        taken[exam.protocol] += 1
    drawn = {(order(f"{policy.seed}/{exam.exam_id}"), exam.exam_id): exam for exam in exams}
    for _, exam in sorted(drawn.items()):
        if exam.exam_id in kept:
            continue
        if policy.one_exam_per_patient and exam.patient_id in patients[exam.protocol]:
            tally["exam", Reason.OTHER_EXAM_OF_PATIENT] += 1
        elif taken[exam.protocol] >= policy.exams_per_protocol:
            tally["exam", Reason.OVER_PROTOCOL_LIMIT] += 1
        else:
            kept.add(exam.exam_id)
            patients[exam.protocol].add(exam.patient_id)
            taken[exam.protocol] += 1
    return kept, tally
