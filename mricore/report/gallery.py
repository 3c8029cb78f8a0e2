"""What a sample of slices shows: examples of each body location, and the sizes and settings of the scans."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mricore.imaging.anatomy import UNKNOWN
from mricore.imaging.intensity import normalize
from mricore.records import SliceRecord
from mricore.report.charts import number
from mricore.report.tables import Bar, count_bars, in_words, ordered_bars

Picture = NDArray[np.float32]
TIMES = "\N{MULTIPLICATION SIGN}"
FEW, MANY = 3, 6
MANY_LOCATIONS = 12
"""Beyond this many locations each shows FEW slices, up to it MANY, so that the page stays small."""
QUANTITIES = (
    ("pixel spacing", "mm", "spacing_row"),
    ("distance of slices", "mm", "spacing_slice"),
    ("slices in the volume", "", "slices_in_volume"),
    ("repetition time", "ms", "repetition_time"),
    ("echo time", "ms", "echo_time"),
    ("inversion time", "ms", "inversion_time"),
    ("flip angle", "degrees", "flip_angle"),
    ("b-value", "s/mm²", "b_value"),
)
"""Name, unit and attribute of a slice."""


@dataclass(frozen=True)
class Shelf:
    """Examples of one body location, of ``slices``: pictures (rows, columns) in [0, 1] with captions."""

    location: str
    slices: int
    examples: list[tuple[Picture, str]]


@dataclass(frozen=True)
class Quantity:
    """Median and the range of the middle 90% of one number over a sample; ``unknown`` is a share."""

    name: str
    unit: str
    median: str
    low: str
    high: str
    unknown: str


def shelves(sample: Sequence[SliceRecord], slices: Mapping[str, int]) -> list[Shelf]:
    """Examples of each location of the sample, in the order of ``slices`` (slices per location)."""
    by_location: dict[str, list[SliceRecord]] = defaultdict(list)
    for record in sample:
        by_location[record.location].append(record)
    most = MANY if len(by_location) <= MANY_LOCATIONS else FEW
    ordered = sorted(by_location, key=lambda name: (name == UNKNOWN, -slices.get(name, 0), name))
    return [
        Shelf(
            in_words(name),
            slices.get(name, 0),
            [(normalize(one, "percentile"), caption(one)) for one in varied(by_location[name], most)],
        )
        for name in ordered
    ]


def unseen(sample: Sequence[SliceRecord], slices: Mapping[str, int]) -> list[str]:
    """Locations of the dataset of which the sample has no slice, with their numbers of slices."""
    seen = {record.location for record in sample}
    return [f"{in_words(name)} ({count:,})" for name, count in sorted(slices.items()) if name not in seen]


def varied(records: Sequence[SliceRecord], most: int) -> list[SliceRecord]:
    """At most ``most`` of the records, of as many patients, then of as many kinds of scan, as possible."""
    chosen: list[SliceRecord] = []
    left = list(records)
    patients: Counter[str] = Counter()
    kinds: Counter[tuple[str, str, str]] = Counter()
    while left and len(chosen) < most:
        order = [(patients[one.patient_id], kinds[_kind(one)]) for one in left]
        chosen.append(left.pop(order.index(min(order))))
        patients[chosen[-1].patient_id] += 1
        kinds[_kind(chosen[-1])] += 1
    return chosen


def caption(record: SliceRecord) -> str:
    """Sequence, plane and vendor of a slice."""
    named = zip(("sequence", "plane", "vendor"), _kind(record), strict=True)
    return ", ".join(f"{name} unknown" if part == UNKNOWN else in_words(part) for name, part in named)


def matrix_bars(sample: Sequence[SliceRecord]) -> list[Bar]:
    """Slices by rows and columns, the most frequent size first."""
    return count_bars(Counter(f" {TIMES} ".join(map(str, one.pixels.shape)) for one in sample))


def depth_bars(sample: Sequence[SliceRecord]) -> list[Bar]:
    """Slices by the bits that the range of their stored integers needs, from the fewest to the most."""
    counts = Counter((int(one.pixels.max()) - int(one.pixels.min())).bit_length() for one in sample)
    if not counts:
        return []
    return ordered_bars({f"{bits} bits": counts[bits] for bits in range(min(counts), max(counts) + 1)})


def quantities(sample: Sequence[SliceRecord]) -> list[Quantity]:
    """Geometry and timing of the slices."""
    return [_quantity(name, unit, [getattr(one, key) for one in sample]) for name, unit, key in QUANTITIES]


def _quantity(name: str, unit: str, values: Sequence[float]) -> Quantity:
    numbers = np.array(values, np.float64)
    known = numbers[np.isfinite(numbers)]
    told = [number(value) for value in np.percentile(known, (5, 50, 95))] if known.size else [""] * 3
    low, median, high = told
    return Quantity(name, unit, median, low, high, f"{1 - known.size / max(numbers.size, 1):.0%}")


def _kind(record: SliceRecord) -> tuple[str, str, str]:
    return record.sequence, record.plane, record.vendor
