"""Slices on their way from volumes to shards: part files, which sort what one task read into buckets.

A global shuffle that fits in no memory: each slice has a keyed random number; the range of these numbers
is cut into buckets; a part file holds the slices of one task, bucket by bucket; and each bucket is later
collected from all parts, sorted, and written as shards.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import fs, ipc

from mricore.data.patience import outlast
from mricore.data.shards import SCHEMA
from mricore.data.storage import Place, readable_errors
from mricore.errors import UserError

WORK = "work"
"""The folder of unfinished work in a dataset."""
MOST_BYTES = 128 * 1024**2
"""A part is written when its pixels take this much memory."""
ORDER_BITS = 64
_SCHEMA = SCHEMA.append(pa.field("order", pa.uint64(), nullable=False)).append(
    pa.field("checksum", pa.uint32(), nullable=False)
)


@dataclass(frozen=True)
class PartFile:
    """A part: its path, and for each bucket in it the number of its batch and of its slices."""

    path: str
    buckets: Mapping[int, tuple[int, int]]


def bucket_of(order: int, buckets: int) -> int:
    """The bucket of a slice, so that buckets follow each other as their slices do."""
    return order * buckets >> ORDER_BITS


class PartWriter:
    """Collects rows of slices and writes part files that no memory minds."""

    def __init__(self, destination: Place, name: str, buckets: int) -> None:
        self._destination = destination
        self._name = name
        self._buckets = buckets
        self._rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._bytes = 0
        self._written: list[PartFile] = []

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take in rows with the columns of a shard and their ``order``."""
        for row in rows:
            checked = {**row, "checksum": zlib.crc32(row["pixels"])}
            self._rows[bucket_of(row["order"], self._buckets)].append(checked)
            self._bytes += len(row["pixels"])
        if self._bytes >= MOST_BYTES:
            self._write()

    def finish(self) -> tuple[PartFile, ...]:
        """Write what is left; all part files of this writer."""
        if self._rows:
            self._write()
        return tuple(self._written)

    def _write(self) -> None:
        sink = pa.BufferOutputStream()
        buckets = {}
        with ipc.new_file(sink, _SCHEMA) as writer:
            for number, bucket in enumerate(sorted(self._rows)):
                rows = self._rows[bucket]
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=_SCHEMA))
                buckets[bucket] = (number, len(rows))
        path = f"{WORK}/{self._name}-{len(self._written)}.arrow"
        self._destination.write_bytes(path, sink.getvalue().to_pybytes())
        self._written.append(PartFile(path, buckets))
        self._rows.clear()
        self._bytes = 0


def read_batch(destination: Place, path: str, number: int) -> pa.RecordBatch:
    """One bucket of a part file.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    system, full = destination.arrow(path)
    try:
        with readable_errors(destination.uri):
            batch = outlast(lambda: _batch(system, full, number))
        sums = [zlib.crc32(pixels.as_buffer()) for pixels in batch["pixels"]]
    except (pa.ArrowException, ValueError):
        batch, sums = None, []
    if batch is None or sums != batch["checksum"].to_pylist():
        remedy = f"remove {destination.joined(WORK)} and run the same command again"
        raise UserError(f"unfinished work in {destination.uri} is damaged", remedy)
    return batch


def _batch(system: fs.FileSystem, path: str, number: int) -> pa.RecordBatch:
    with system.open_input_file(path) as file:
        return ipc.open_file(file).get_batch(number)
