"""Volumes that were read, on their way into the parts and the ledger, whatever they were read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mricore.data.ledger import EMPTY, LEDGER, STORED, read_notes, write_ledger
from mricore.data.parts import ORDER_BITS, PartFile, PartWriter
from mricore.data.shards import row_of
from mricore.data.storage import Place
from mricore.data.target import Target
from mricore.data.volume_reader import ReadVolume
from mricore.errors import UserError
from mricore.imaging.deidentify import slice_record, volume_id
from mricore.imaging.geometry import plane
from mricore.imaging.volumes import Volume
from mricore.records import Level, Reason


@dataclass(frozen=True)
class Extracted:
    """What became of some volumes: a file of the ledger, part files, and what was left out.

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


def order_of(slice_id: str, target: Target) -> int:
    """The keyed random number of a slice, by which the dataset is shuffled: 64 bits."""
    order = target.pseudonymizer.order(f"{target.policy.seed}/{slice_id}")
    return int.from_bytes(order[: ORDER_BITS // 8])


def ledger_path(key: str) -> str:
    """Where the ledger keeps what one task took in."""
    return f"{LEDGER}/{key}.parquet"


def remembered(destination: Place, ledger: str) -> Extracted | None:
    """What an earlier process took in, unless it is damaged, or something was missing then or is now."""
    if not destination.exists(ledger):
        return None
    try:
        found = _from_notes(ledger, read_notes(destination, ledger))
    except UserError:
        return None
    whole = found.complete and all(destination.exists(part.path) for part in found.parts)
    return found if whole else None


class Intake:
    """One task's volumes. ``key`` names the task's files, ``buckets`` is the number of buckets."""

    def __init__(self, target: Target, key: str, buckets: int) -> None:
        self._target = target
        self._ledger = ledger_path(key)
        self._parts = PartWriter(target.destination, key, buckets)
        self._rows: list[dict[str, Any]] = []
        self.rejected: Counter[tuple[Level, Reason]] = Counter()
        self._images = 0
        self._volumes = 0

    def fresh(self, volumes: list[Volume], stored: frozenset[str]) -> list[Volume]:
        """Count continuous volumes; those of which nothing is ``stored`` (slices of the dataset)."""
        self._images += sum(len(volume.slices) for volume in volumes)
        self._volumes += len(volumes)
        return [volume for volume in volumes if self._is_fresh(volume, stored)]

    def take(self, read: ReadVolume | Reason, protocol: str) -> None:
        """Send the slices of a volume to the parts, and enter them in the ledger; or count why not."""
        if isinstance(read, Reason):
            self.rejected["volume", read] += 1
            return
        identity = volume_id(read.volume, self._target.pseudonymizer)
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

    def finish(self, complete: bool) -> Extracted:
        """Write the last part, and then the file of the ledger."""
        found = Extracted(
            *(self._ledger, self._parts.finish(), self.rejected, self._images, self._volumes),
            rows=len(self._rows),
            complete=complete,
        )
        write_ledger(self._target.destination, self._ledger, self._rows, _notes(found))
        return found

    def _is_fresh(self, volume: Volume, stored: frozenset[str]) -> bool:
        """Whether nothing of a volume is in the dataset; counts the volume if only a part of it is."""
        slices = {copies[0].slice_id for copies in volume.slices}
        if slices & stored and not slices <= stored:
            self.rejected["volume", Reason.CHANGED_VOLUME] += 1
        return not slices & stored

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
                    self._target.pseudonymizer,
                )
                yield {**row_of(record, one.encoded), "order": order_of(one.frame.slice_id, self._target)}


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
