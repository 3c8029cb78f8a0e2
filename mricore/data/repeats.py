"""Repeats in a dataset: volumes that are there twice, slices that look alike; and which of them to drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from mricore.config.curation import Curation
from mricore.data.duplicates import DuplicateFinder, FingerprintedSlice
from mricore.data.ledger import STORED, ledger_rows
from mricore.data.storage import Place
from mricore.records import Reason

_COLUMNS = ("slice_id", "volume_id", "series_id", "patient_id", "fingerprint", "content", "state")
_PLACES = {"series": "in_series", "patient": "of_patient", "elsewhere": "elsewhere"}
_BEFORE, _NOW = 0, 1


def find_repeats(
    dataset: Place, before: Sequence[str], gone: Mapping[str, str], now: Sequence[str], policy: Curation
) -> tuple[dict[str, int], dict[str, str]]:
    """Counts of repeats of all curations so far, and the slices to drop now with the reason of each.

    ``before`` and ``now`` are files of the ledger: of earlier curations, of which ``gone`` slices were
    dropped, and of this one. Nothing of an earlier one is ever dropped, nor called the repeat of a later one.
    """
    finder = DuplicateFinder()
    try:
        repeated = set()
        for one in _slices(dataset, before):
            if one.slice_id not in gone:
                finder.add([one], _BEFORE)
            elif gone[one.slice_id] == Reason.REPEATED_VOLUME:
                repeated.add(one.volume_id)
        finder.add(_slices(dataset, now), _NOW)
        repeated |= {volume_id for volume_id, _ in finder.repeated_volumes()}
        near = Counter[str]()
        alike: set[str] = set()
        for duplicate in finder.near_duplicates():
            near[duplicate.relation] += 1
            if policy.near_duplicates == "drop":
                alike.add(duplicate.slice_id)
    finally:
        finder.close()
    counts = {"repeated_volumes": len(repeated)}
    counts |= {f"near_duplicates_{words}": near[place] for place, words in _PLACES.items()}
    drops: dict[str, str] = {}
    for one in _slices(dataset, now):
        if one.volume_id in repeated and policy.repeated_volumes == "drop":
            drops[one.slice_id] = Reason.REPEATED_VOLUME
        elif one.slice_id in alike:
            drops[one.slice_id] = Reason.NEAR_DUPLICATE
    return counts, drops


def _slices(dataset: Place, ledger: Sequence[str]) -> Iterator[FingerprintedSlice]:
    for *columns, state in ledger_rows(dataset, ledger, _COLUMNS):
        if state == STORED:
            yield FingerprintedSlice(*columns)
