"""Which series of an archive are taken up: anatomy exam by exam, then the draw of exams per protocol."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mricore.config.curation import Curation
from mricore.data.funnel import Counts, Funnel, Tally, counts_of
from mricore.data.scratch import Found, Scratch
from mricore.errors import UserError
from mricore.imaging.selection import Exam, Order, allowed_series, exam_protocol, sample_exams
from mricore.records import Level, Reason

Table = Mapping[str, str | Reason]
LEAST_IMAGES = 256
MOST_IMAGES = 4096
TASKS = 64
"""A task takes up about this share of all images, but never fewer or more than the two limits above."""


@dataclass(frozen=True, repr=False)
class WantedSeries:
    """A series to take up: where its images are, the protocol of its exam, what of it is stored already."""

    found: Found
    protocol: str
    stored: frozenset[str]


class Choice:
    """The series to take up. Only exams are held in memory, some hundred bytes each."""

    def __init__(
        self, scratch: Scratch, policy: Curation, order: Order, table: Table | None, stored: Collection[Exam]
    ) -> None:
        self._scratch = scratch
        self._policy = policy
        self._order = order
        self._table = table
        self._stored = stored
        self._drawn: dict[str, str] = {}
        self.images = 0

    def draw(self, funnel: Funnel) -> None:
        """Judge all exams and draw among them; the funnel gets the steps and the rejects.

        Raises:
            UserError: the dataset holds slices of a series that must stay out, as other files tell now.
        """
        readable, allowed, wanted, sampled = Tally(), Tally(), Tally(), Tally()
        candidates: list[_Candidate] = []
        for study in self._scratch.studies():
            kept, rejected = self._allowed(study)
            funnel.rejected.update(rejected)
            for exam in _exams(study):
                readable.add(counts_of(found.series for found in exam if found.images))
            for exam in _exams(kept):
                counts = counts_of(found.series for found in exam)
                allowed.add(counts)
                protocol = exam_protocol([found.series for found in exam], self._policy, self._table)
                if isinstance(protocol, Reason):
                    funnel.rejected["exam", protocol] += 1
                    if protocol == Reason.FACIAL_ANATOMY:
                        self._refuse_if_stored(exam)
                else:
                    wanted.add(counts)
                    first = exam[0].series
                    draw = Exam(first.exam_id, first.patient_id, protocol)
                    candidates.append(_Candidate(draw, first.study, counts))
        names, rejected_exams = sample_exams(
            [one.exam for one in candidates], self._policy, self._order, self._stored
        )
        funnel.rejected.update(rejected_exams)
        drawn = [one for one in candidates if one.exam.exam_id in names]
        for one in drawn:
            sampled.add(one.counts)
        self._drawn = {one.exam.exam_id: one.exam.protocol for one in drawn}
        self._scratch.draw(one.study for one in drawn)
        self.images = sampled.counts["images"]
        funnel.step("readable MR images", **readable.counts)
        funnel.step("allowed anatomy", **allowed.counts)
        for step, tally, some in (("wanted protocols", wanted, candidates), ("drawn exams", sampled, drawn)):
            protocols = len({one.exam.protocol for one in some})
            funnel.step(step, protocols=protocols, **tally.counts)

    def fresh(self) -> int:
        """Number of images to take up that the dataset does not hold."""
        return sum(max(0, one.found.images - len(one.stored)) for one in self._wanted())

    def groups(self) -> Iterator[tuple[WantedSeries, ...]]:
        """The series to take up, in groups of about equally many images: one task each."""
        limit = min(MOST_IMAGES, max(LEAST_IMAGES, self.images // TASKS))
        group: list[WantedSeries] = []
        images = 0
        for one in self._wanted():
            group.append(one)
            images += one.found.images
            if images >= limit:
                yield tuple(group)
                group, images = [], 0
        if group:
            yield tuple(group)

    def _wanted(self) -> Iterator[WantedSeries]:
        for study in self._scratch.drawn_studies():
            for found in self._allowed(study)[0]:
                series = found.series
                if series.exam_id in self._drawn:
                    stored = self._scratch.stored(series.series_id)
                    yield WantedSeries(found, self._drawn[series.exam_id], stored)

    def _allowed(self, study: Sequence[Found]) -> tuple[list[Found], Counter[tuple[Level, Reason]]]:
        allowed, rejected = allowed_series([found.series for found in study], self._policy)
        names = {series.series_id for series in allowed}
        self._refuse_if_stored([found for found in study if found.series.series_id not in names])
        return [found for found in study if found.series.series_id in names], rejected

    def _refuse_if_stored(self, exam: Sequence[Found]) -> None:
        if any(self._scratch.stored(found.series.series_id) for found in exam):
            raise UserError(
                "the dataset holds slices of a series that must stay out, as files that came later tell",
                "curate into a new destination, and do not use this dataset any longer",
            )


class _Candidate(NamedTuple):
    """An exam that may be drawn, its study, and what there is of it."""

    exam: Exam
    study: str
    counts: Counts


def _exams(study: Iterable[Found]) -> list[list[Found]]:
    """The exams of a study: one, unless patients share its UID."""
    exams: dict[str, list[Found]] = defaultdict(list)
    for found in study:
        exams[found.series.exam_id].append(found)
    return list(exams.values())
