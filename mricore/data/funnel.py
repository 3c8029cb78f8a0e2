"""The funnel of a curation: what remains after each step, and why the rest fell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mricore.imaging.selection import Series
from mricore.records import Level, Reason


class Funnel:
    """Counts of each step, and all rejects so far."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self.rejected: Counter[tuple[Level, Reason]] = Counter()

    def step(self, name: str, **counts: int) -> None:
        """Add a step with what remains after it; a count that means nothing yet is left out."""
        self._rows.append({"step": name, **counts})

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """The steps so far."""
        return tuple(self._rows)

    @property
    def reject_rows(self) -> tuple[Mapping[str, Any], ...]:
        """Rejects as rows of level, reason and count."""
        return tuple(
            {"level": level, "reason": str(reason), "count": count}
            for (level, reason), count in sorted(self.rejected.items())
            if count
        )

    def summary(self) -> str:
        """The reasons with their counts, most frequent first, in one line."""
        counts: Counter[Reason] = Counter()
        for (_, reason), count in self.rejected.items():
            counts[reason] += count
        return ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "nothing"


class Counts(NamedTuple):
    """Images and series of an exam, which counts for nothing if it has none."""

    images: int
    series: int
    patient_id: str

    def __bool__(self) -> bool:
        return self.series > 0


def counts_of(exam: Iterable[Series]) -> Counts:
    """What there is of an exam."""
    series = list(exam)
    return Counts(sum(one.images for one in series), len(series), series[0].patient_id if series else "")


class Tally:
    """Images, series, exams and patients of a stream of exams."""

    def __init__(self) -> None:
        self._images = self._series = self._exams = 0
        self._patients: set[str] = set()

    def add(self, exam: Counts) -> None:
        """Count one more exam."""
        if exam:
            self._images += exam.images
            self._series += exam.series
            self._exams += 1
            self._patients.add(exam.patient_id)

    @property
    def counts(self) -> dict[str, int]:
        """What was counted."""
        return {
            "images": self._images,
            "series": self._series,
            "exams": self._exams,
            "patients": len(self._patients),
        }
