"""Pass 2 of curation: series -> volumes -> slices, decoded once, on their way to the shards."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mricore.data.choice import WantedSeries
from mricore.data.index import IndexReader
from mricore.data.intake import Extracted, Intake, ledger_path, remembered
from mricore.data.storage import Place, StoredFile
from mricore.data.target import Target
from mricore.data.volume_reader import VolumeReader
from mricore.imaging.frames import Frame
from mricore.imaging.pixels import read_pixels
from mricore.imaging.volumes import build_volumes

FORMAT = 2


@dataclass(frozen=True, repr=False)
class Extraction:
    """The second pass: everything but the series themselves. ``buckets`` is their number in the parts."""

    source: Place
    target: Target
    buckets: int

    def key(self, wanted: Sequence[WantedSeries]) -> str:
        """Keyed digest of all that decides the result for these series."""
        policy = self.target.policy
        settings = policy.model_dump(mode="json", include={"seed", "min_slices", "spacing_tolerance"})
        content: list[Any] = [FORMAT, self.buckets, settings]
        for one in wanted:
            parts = [[part.chunk, part.rows] for part in one.found.parts]
            content.append([one.found.series.series_id, one.protocol, sorted(one.stored), parts])
        return hmac.new(self.target.key, json.dumps(content).encode(), hashlib.sha256).hexdigest()[:32]

    def run(self, wanted: Sequence[WantedSeries], skipped: frozenset[int]) -> Extracted:
        """Take up some series, or tell what is remembered of that; files ``skipped`` are unreadable.

        Raises:
            UserError: the source or the destination can no longer be reached.
        """
        key = self.key(wanted)
        found = remembered(self.target.destination, ledger_path(key))
        if found is not None:
            return found
        files = files_of(wanted)
        return _Extractor(self, key, frozenset(files[number].path for number in skipped)).run(wanted)

    def probe(self, file: StoredFile) -> None:
        """Decode a file as ``run`` would, and forget it."""
        content = io.BytesIO(self.source.read_bytes(file.path))
        for _ in read_pixels(content, (0,)):
            pass


def files_of(wanted: Sequence[WantedSeries]) -> list[StoredFile]:
    """All files of some series."""
    return list(dict.fromkeys(file for one in wanted for part in one.found.parts for file in part.files))


class _Extractor:
    """One task of the second pass."""

    def __init__(self, extraction: Extraction, key: str, killers: frozenset[str]) -> None:
        self._job = extraction
        self._killers = killers
        self._index = IndexReader(extraction.target.destination)
        self._intake = Intake(extraction.target, key, extraction.buckets)
        self._complete = True

    def run(self, wanted: Sequence[WantedSeries]) -> Extracted:
        for series in wanted:
            self._series(series)
        return self._intake.finish(self._complete)

    def _series(self, series: WantedSeries) -> None:
        frames, files = self._frames(series)
        volumes, rejected = build_volumes(frames, self._job.target.policy)
        self._intake.rejected.update(rejected)
        fresh = self._intake.fresh(volumes, series.stored)
        reader = VolumeReader(self._job.source, fresh, files, self._killers)
        for read in reader.volumes():
            self._intake.take(read, series.protocol)
        self._complete &= reader.complete

    def _frames(self, series: WantedSeries) -> tuple[list[Frame], list[StoredFile]]:
        """The images of a series; their ``file`` is a place in the list of files."""
        numbers: dict[StoredFile, int] = {}
        frames = []
        for part in series.found.parts:
            found = self._index.frames(part.chunk, part.rows)
            for frame, file in zip(found, part.files, strict=True):
                frames.append(replace(frame, file=numbers.setdefault(file, len(numbers))))
        return frames, list(numbers)
