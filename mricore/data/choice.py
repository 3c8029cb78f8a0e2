"""Which series of an archive are taken up: anatomy exam by exam, then the draw of exams per protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mricore.config.schema import Curation
from mricore.data.funnel import Counts, Funnel, Tally, counts_of
from mricore.data.scratch import Found, Scratch
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
        """Judge all exams and draw among them; the funnel gets the steps and the rejects."""
        readable, allowed, wanted, sampled = Tally(), Tally(), Tally(), Tally()
        candidates: list[tuple[Exam, Counts]] = []
        for exam in self._scratch.exams():
            readable.add(counts_of(found.series for found in exam if found.images))
            kept, rejected = self._allowed(exam)
            funnel.rejected.update(rejected)
            counts = counts_of(found.series for found in kept)
            allowed.add(counts)
            if counts:
                protocol = exam_protocol([found.series for found in exam], self._policy, self._table)
                if isinstance(protocol, Reason):
                    funnel.rejected["exam", protocol] += 1
                else:
                    wanted.add(counts)
                    candidates.append((Exam(kept[0].series.exam_id, counts.patient_id, protocol), counts))
        names, rejected_exams = sample_exams(
            [exam for exam, _ in candidates], self._policy, self._order, self._stored
        )
        funnel.rejected.update(rejected_exams)
        drawn = [(exam, counts) for exam, counts in candidates if exam.exam_id in names]
        for _, counts in drawn:
            sampled.add(counts)
        self._drawn = {exam.exam_id: exam.protocol for exam, _ in drawn}
        self._scratch.draw(self._drawn)
        self.images = sampled.counts["images"]
        funnel.step("readable MR images", **readable.counts)
        funnel.step("allowed anatomy", **allowed.counts)
        for step, tally, exams in (("wanted protocols", wanted, candidates), ("drawn exams", sampled, drawn)):
            funnel.step(step, protocols=len({exam.protocol for exam, _ in exams}), **tally.counts)

    def groups(self) -> Iterator[tuple[WantedSeries, ...]]:
        """The series to take up, in groups of about equally many images: one task each."""
        limit = min(MOST_IMAGES, max(LEAST_IMAGES, self.images // TASKS))
        group: list[WantedSeries] = []
        images = 0
        for exam in self._scratch.drawn_exams():
            for found in self._allowed(exam)[0]:
                series = found.series
                stored = self._scratch.stored(series.series_id)
                group.append(WantedSeries(found, self._drawn[series.exam_id], stored))
                images += found.images
                if images >= limit:
                    yield tuple(group)
                    group, images = [], 0
        if group:
            yield tuple(group)

    def _allowed(self, exam: Sequence[Found]) -> tuple[list[Found], Counter[tuple[Level, Reason]]]:
        allowed, rejected = allowed_series([found.series for found in exam], self._policy)
        names = {series.series_id for series in allowed}
        return [found for found in exam if found.series.series_id in names], rejected
