"""Pass 2 of curation: series -> volumes -> slices, decoded once, on their way to the shards."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mricore.config.curation import Curation
from mricore.data.choice import WantedSeries
from mricore.data.index import IndexReader
from mricore.data.ledger import EMPTY, LEDGER, STORED, read_notes, write_ledger
from mricore.data.parts import ORDER_BITS, PartFile, PartWriter
from mricore.data.shards import row_of
from mricore.data.storage import Place, StoredFile
from mricore.data.volume_reader import ReadVolume, VolumeReader
from mricore.errors import UserError
from mricore.imaging.deidentify import slice_record, volume_id
from mricore.imaging.frames import Frame
from mricore.imaging.geometry import plane
from mricore.imaging.pixels import read_pixels
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.volumes import Volume, build_volumes
from mricore.records import Level, Reason

FORMAT = 2


@dataclass(frozen=True)
class Extracted:
    """What became of some series: a file of the ledger, part files, and what was left out.

    ``images`` and ``volumes`` count what forms continuous volumes, stored before or now; ``rows`` are those
    of the ledger. ``complete`` is false if a file could not be had (see ``VolumeReader``).
    """

    ledger: str
    parts: tuple[PartFile, ...]
    rejected: Counter[tuple[Level, Reason]]
    images: int
    volumes: int
    rows: int
    complete: bool


@dataclass(frozen=True, repr=False)
class Extraction:
    """The second pass: everything but the series themselves. ``buckets`` is their number in the parts."""

    source: Place
    destination: Place
    policy: Curation
    pseudonymizer: Pseudonymizer
    secret: bytes
    buckets: int

    def key(self, wanted: Sequence[WantedSeries]) -> str:
        """Keyed digest of all that decides the result for these series."""
        settings = self.policy.model_dump(mode="json", include={"seed", "min_slices", "spacing_tolerance"})
        content: list[Any] = [FORMAT, self.buckets, settings]
        for one in wanted:
            parts = [[part.chunk, part.rows] for part in one.found.parts]
            content.append([one.found.series.series_id, one.protocol, sorted(one.stored), parts])
        return hmac.new(self.secret, json.dumps(content).encode(), hashlib.sha256).hexdigest()[:32]

    def run(self, wanted: Sequence[WantedSeries], skipped: frozenset[int]) -> Extracted:
        """Take up some series, or tell what is remembered of that; files ``skipped`` are unreadable.

        Raises:
            UserError: the source or the destination can no longer be reached.
        """
        key = self.key(wanted)
        ledger = f"{LEDGER}/{key}.parquet"
        found = self._remembered(ledger)
        if found is not None:
            return found
        files = files_of(wanted)
        return _Extractor(self, key, frozenset(files[number].path for number in skipped)).run(wanted)

    def probe(self, file: StoredFile) -> None:
        """Decode a file as ``run`` would, and forget it."""
        content = io.BytesIO(self.source.read_bytes(file.path))
        for _ in read_pixels(content, (0,)):
            pass

    def _remembered(self, ledger: str) -> Extracted | None:
        """What is remembered, unless it is damaged, or something was missing then or is now."""
        if not self.destination.exists(ledger):
            return None
        try:
            found = _from_notes(ledger, read_notes(self.destination, ledger))
        except UserError:
            return None
        whole = found.complete and all(self.destination.exists(part.path) for part in found.parts)
        return found if whole else None


def files_of(wanted: Sequence[WantedSeries]) -> list[StoredFile]:
    """All files of some series."""
    return list(dict.fromkeys(file for one in wanted for part in one.found.parts for file in part.files))


def order_of(slice_id: str, extraction: Extraction) -> int:
    """The keyed random number of a slice, by which the dataset is shuffled: 64 bits."""
    order = extraction.pseudonymizer.order(f"{extraction.policy.seed}/{slice_id}")
    return int.from_bytes(order[: ORDER_BITS // 8])


class _Extractor:
    """One task of the second pass."""

    def __init__(self, extraction: Extraction, key: str, killers: frozenset[str]) -> None:
        self._job = extraction
        self._killers = killers
        self._index = IndexReader(extraction.destination)
        self._ledger_path = f"{LEDGER}/{key}.parquet"
        self._parts = PartWriter(extraction.destination, key, extraction.buckets)
        self._rows: list[dict[str, Any]] = []
        self._rejected: Counter[tuple[Level, Reason]] = Counter()
        self._images = 0
        self._volumes = 0
        self._complete = True

    def run(self, wanted: Sequence[WantedSeries]) -> Extracted:
        for series in wanted:
            self._series(series)
        parts = self._parts.finish()
        found = Extracted(
            *(self._ledger_path, parts, self._rejected, self._images, self._volumes),
            rows=len(self._rows),
            complete=self._complete,
        )
        write_ledger(self._job.destination, self._ledger_path, self._rows, _notes(found))
        return found

    def _series(self, series: WantedSeries) -> None:
        frames, files = self._frames(series)
        volumes, rejected = build_volumes(frames, self._job.policy)
        self._rejected.update(rejected)
        self._images += sum(len(volume.slices) for volume in volumes)
        self._volumes += len(volumes)
        fresh = [volume for volume in volumes if self._is_fresh(volume, series.stored)]
        reader = VolumeReader(self._job.source, fresh, files, self._killers)
        for read in reader.volumes():
            if isinstance(read, Reason):
                self._rejected["volume", read] += 1
            else:
                self._take_up(read, series.protocol)
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

    def _is_fresh(self, volume: Volume, stored: frozenset[str]) -> bool:
        """Whether nothing of a volume is in the dataset; counts the volume if only a part of it is."""
        slices = {copies[0].slice_id for copies in volume.slices}
        if slices & stored and not slices <= stored:
            self._rejected["volume", Reason.CHANGED_VOLUME] += 1
        return not slices & stored

    def _take_up(self, read: ReadVolume, protocol: str) -> None:
        """Send the slices of a volume to the parts, and enter them in the ledger."""
        identity = volume_id(read.volume, self._job.pseudonymizer)
        self._rows += [
            {
                "slice_id": one.frame.slice_id,
                "volume_id": identity,
                "series_id": one.frame.series_id,
                "exam_id": one.frame.exam_id,
                "patient_id": one.frame.patient_id,
                "protocol": protocol,
                "state": EMPTY if one.is_empty else STORED,
                "location": one.frame.location,
                "sequence": one.frame.sequence,
                "plane": plane(one.frame.orientation),
                "vendor": one.frame.vendor,
                "field_strength": one.frame.field_strength,
                "fingerprint": one.fingerprint,
                "content": one.content,
            }
            for one in read.slices
        ]
        self._parts.add(self._shard_rows(read))

    def _shard_rows(self, read: ReadVolume) -> Iterator[dict[str, Any]]:
        for index, one in enumerate(read.slices):
            if not one.is_empty:
                record = slice_record(
                    one.frame,
                    read.volume,
                    index,
                    one.pixels,
                    one.intensity,
                    read.intensity,
                    self._job.pseudonymizer,
                )
                yield {**row_of(record, one.encoded), "order": order_of(one.frame.slice_id, self._job)}


def _notes(found: Extracted) -> dict[str, Any]:
    notes = asdict(found)
    notes["rejected"] = [[level, reason, count] for (level, reason), count in found.rejected.items()]
    notes["parts"] = [[part.path, list(part.buckets.items())] for part in found.parts]
    return notes


def _from_notes(ledger: str, notes: dict[str, Any]) -> Extracted:
    rejected: Counter[tuple[Level, Reason]] = Counter()
    for level, reason, count in notes["rejected"]:
        rejected[level, Reason(reason)] = count
    parts = tuple(
        PartFile(path, {bucket: (batch, rows) for bucket, (batch, rows) in buckets})
        for path, buckets in notes["parts"]
    )
    counts = {name: notes[name] for name in ("images", "volumes", "rows", "complete")}
    return Extracted(ledger, parts, rejected, **counts)
