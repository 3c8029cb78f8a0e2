"""Whether an encoder has seen what it is judged on: slices of a task that are in a pretraining dataset.

Slices are compared by their fingerprints, which survive another bit depth or scale. A curated dataset keeps
those of all its slices in its ledger, so no shard is read: one pass over 32 bytes for each slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mricore.data.duplicates import MAX_DISTANCE
from mricore.data.ledger import STORED, ledger_rows
from mricore.data.manifest import Manifest, read_manifest
from mricore.data.storage import Place
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Part, Split
from mricore.evaluation.tasks.volume import LabelledVolume, SliceKey
from mricore.imaging.fingerprints import BITS, MIN_BITS, fingerprint, is_telling
from mricore.imaging.intensity import histogram

Verdict = Literal["none", "possible", "found"]
SURE_SLICES = 3
"""With so many slices in the dataset a case is taken for known; fewer may look alike by chance."""
SURE_SHARE = 0.2
"""A case of fewer slices counts as known with this share of them."""
_WORDS = BITS // 64
_BANDS = 8
"""Fingerprints that differ in at most ``MAX_DISTANCE`` bits have one of so many bands in common."""
_ROWS_AT_ONCE = 2**15
_TOP = 2**16 - 1


@dataclass(frozen=True)
class Leaks:
    """What of a task is in a dataset.

    ``slices`` is how many were compared, ``unclear`` how many show too little for that. ``found`` has the
    slices that the dataset holds, by case; ``searched`` counts the slices of the dataset.
    """

    task: str
    slices: int
    unclear: int
    searched: int
    found: Mapping[str, tuple[int, ...]]
    patients: tuple[str, ...]
    parts: Mapping[Part, int]
    verdict: Verdict

    def __str__(self) -> str:
        if self.verdict == "none":
            said = "none is in the pretraining data"
        else:
            count = sum(len(places) for places in self.found.values())
            parts = ", ".join(f"{number} of {part}" for part, number in self.parts.items() if number)
            likely = "are" if self.verdict == "found" else "may be"
            said = f"{count} {likely} in the pretraining data, of {len(self.patients)} patients ({parts})"
        unclear = f"; {self.unclear} more show too little to tell" if self.unclear else ""
        return f"{self.task}: of {self.slices} slices {said}, compared with {self.searched:,} slices{unclear}"


def find_leaks(labelled: LabelledTask, dataset: Place, manifest: Manifest | None = None) -> Leaks:
    """Compare a task with a curated dataset, in all eight ways to lay a slice.

    Tools that make NIfTI of DICOM turn and flip slices. ``verdict`` is "found" if a case has ``SURE_SLICES``
    slices in the dataset or ``SURE_SHARE`` of its own, "possible" if fewer look alike.

    Raises:
        UserError: the place is no curated dataset, or its ledger is missing or damaged.
    """
    manifest = manifest or read_manifest(dataset)
    keys, prints = [], []
    for key, one in _fingerprints(labelled):
        keys.append(key)
        prints.append(one)
    searched, hits = _search(_Prints(np.array(prints, np.uint8).reshape(-1, BITS // 8)), dataset, manifest)
    found = sorted({keys[place] for place in hits})
    compared = len(set(keys))
    total = sum(len(volume.image) for volume in labelled.volumes)
    return _told(labelled, found, compared, total - compared, searched)


class _Prints:
    """Fingerprints (N, 32) that others are looked up among."""

    def __init__(self, prints: NDArray[np.uint8]) -> None:
        self._words = prints.view(np.uint64).reshape(-1, _WORDS)
        bands = prints.view(np.uint32).reshape(-1, _BANDS)
        self._order = np.argsort(bands, axis=0, kind="stable")
        self._sorted = np.take_along_axis(bands, self._order, axis=0)

    def near(self, others: NDArray[np.uint8]) -> set[int]:
        """Which of ours (numbers) are near-duplicates of one of the others (M, 32) that are telling."""
        others = others[np.bitwise_count(others).sum(1) >= MIN_BITS]
        words = others.view(np.uint64).reshape(-1, _WORDS)
        bands = others.view(np.uint32).reshape(-1, _BANDS)
        found: set[int] = set()
        for band in range(_BANDS):
            ours = self._sorted[:, band]
            first = np.searchsorted(ours, bands[:, band], "left")
            last = np.searchsorted(ours, bands[:, band], "right")
            theirs = np.repeat(np.arange(len(others)), last - first)
            starts = np.repeat(first - np.cumsum(last - first) + (last - first), last - first)
            mine = self._order[starts + np.arange(len(theirs)), band]
            apart = np.bitwise_count(self._words[mine] ^ words[theirs]).sum(1)
            found.update(mine[apart <= MAX_DISTANCE].tolist())
        return found


def _fingerprints(labelled: LabelledTask) -> Iterator[tuple[SliceKey, NDArray[np.uint8]]]:
    """Each slice that shows enough to be compared, as it lies in eight ways."""
    for volume in labelled.volumes:
        for index, pixels in enumerate(volume.image):
            stored = _integers(pixels)
            low, high = histogram(stored).percentiles
            prints = [fingerprint(way, low, high) for way in _ways(stored)]
            if all(is_telling(one) for one in prints):
                key = SliceKey(volume.case, index)
                yield from ((key, np.frombuffer(one, np.uint8)) for one in prints)


def _integers(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    """A slice scaled to 16 bits, which fingerprints do not mind."""
    values = pixels.astype(np.float64)
    low, high = values.min(), values.max()
    if not high > low:
        return np.zeros(pixels.shape, np.uint16)
    return np.rint((values - low) / (high - low) * _TOP).astype(np.uint16)


def _ways(pixels: NDArray[np.uint16]) -> Iterator[NDArray[np.uint16]]:
    for quarters in range(4):
        turned = np.rot90(pixels, quarters)
        yield turned
        yield np.fliplr(turned)


def _search(ours: _Prints, dataset: Place, manifest: Manifest) -> tuple[int, set[int]]:
    """How many slices the dataset has, and which of our fingerprints are among theirs."""
    searched, hits = 0, set[int]()
    for block in _stored_prints(dataset, manifest):
        searched += len(block)
        hits |= ours.near(block)
    return searched, hits


def _stored_prints(dataset: Place, manifest: Manifest) -> Iterator[NDArray[np.uint8]]:
    """Fingerprints (M, 32) of the dataset in blocks."""
    block: list[bytes] = []
    for state, one in ledger_rows(dataset, manifest.ledger, ("state", "fingerprint")):
        if state == STORED:
            block.append(one)
        if len(block) == _ROWS_AT_ONCE:
            yield _array(block)
            block = []
    if block:
        yield _array(block)


def _array(block: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(block), np.uint8).reshape(-1, BITS // 8)


def _told(labelled: LabelledTask, found: list[SliceKey], compared: int, unclear: int, searched: int) -> Leaks:
    places: dict[str, tuple[int, ...]] = {}
    for key in found:
        places[key.case] = (*places.get(key.case, ()), key.index)
    volumes = {volume.case: volume for volume in labelled.volumes if volume.case in places}
    patients = sorted({volume.patient for volume in volumes.values()})
    sure = any(_is_sure(volumes[case], len(indices)) for case, indices in places.items())
    return Leaks(
        *(labelled.task.name, compared, unclear, searched, places, tuple(patients)),
        parts=_by_part(labelled.split, patients),
        verdict="found" if sure else "possible" if places else "none",
    )


def _is_sure(volume: LabelledVolume, count: int) -> bool:
    return count >= min(SURE_SLICES, max(1, round(SURE_SHARE * len(volume.image))))


def _by_part(split: Split, patients: list[str]) -> dict[Part, int]:
    return {part: len(set(split.patients(part)) & set(patients)) for part in ("pool", "development", "test")}
