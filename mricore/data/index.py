"""Pass 1 of curation: the headers of a chunk of files, de-identified at once, and remembered.

The index of a dataset has one Parquet file per chunk, named by what it was made from. It holds
pseudonyms, categories and physics, and what else became of the files: counts by reason. Whoever curates
the same source again reads it instead of the headers.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mricore.config.curation import Curation
from mricore.data.chunks import Chunk
from mricore.data.storage import Place, StoredFile
from mricore.errors import UserError
from mricore.imaging.deidentify import frame_of
from mricore.imaging.frames import Frame
from mricore.imaging.headers import ReadFile, read_file
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.selection import Series, series_of
from mricore.imaging.treatment import attribute_names
from mricore.records import Level, Reason

INDEX = "index"
"""The folder of the index in a dataset."""
FORMAT = 3
_CHUNKS_HELD = 8
_ARROW = {
    "str": pa.string(),
    "int": pa.int64(),
    "int | None": pa.int64(),
    "float": pa.float64(),
    "tuple[float, ...]": pa.list_(pa.float64()),
    "tuple[int, ...]": pa.list_(pa.int64()),
}
_LISTS = tuple(field.name for field in fields(Frame) if str(field.type).startswith("tuple"))
_SCHEMA = pa.schema([pa.field(field.name, _ARROW[str(field.type)]) for field in fields(Frame)])
_NOTES = b"mricore"
_UNREADABLE = ReadFile(refused=Reason.UNREADABLE_HEADER)
"""Of a file that could not be had; what is wrong with its content makes another one."""


@dataclass(frozen=True)
class Piece:
    """A series as far as one chunk holds it: rows of its usable images, and their files in the chunk."""

    series: Series
    rows: tuple[int, ...]
    files: tuple[int, ...]


@dataclass(frozen=True)
class Indexed:
    """What a chunk holds: its series, what is left out, and how many of its files have which attribute.

    ``complete`` is false if a file could not be had, though that may be the fault of a disk or of the memory
    of a machine: it counts as unreadable now, and is read again the next time.
    """

    pieces: tuple[Piece, ...]
    rejected: Counter[tuple[Level, Reason]]
    attributes: Counter[str]
    complete: bool


def reading_rules(policy: Curation) -> str:
    """Digest of all that decides what is read from a header."""
    rules = policy.model_dump(mode="json", include={"protocols", "exclude_words", "min_pixels"})
    return hashlib.sha256(json.dumps([FORMAT, rules], sort_keys=True).encode()).hexdigest()


def index_path(key: str) -> str:
    """Where the index keeps a chunk."""
    return f"{INDEX}/{key}.parquet"


def index_chunk(
    source: Place,
    destination: Place,
    chunk: Chunk,
    policy: Curation,
    pseudonymizer: Pseudonymizer,
    skipped: frozenset[int],
) -> Indexed:
    """Read the headers of a chunk, or what is remembered of them; files ``skipped`` are unreadable.

    Raises:
        UserError: the source can no longer be reached, or the destination cannot be written.
    """
    path = index_path(chunk.key)
    table = _remembered(destination, path)
    if table is None or not _notes(table)["complete"]:
        table = _read(source, chunk, policy, pseudonymizer, skipped)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        destination.write_bytes(path, sink.getvalue().to_pybytes())
    return _summary(table)


class IndexReader:
    """Images by their rows in the index. A few chunks are held, as the series of an exam share them."""

    def __init__(self, destination: Place) -> None:
        self._destination = destination
        self._chunk = lru_cache(_CHUNKS_HELD)(self._read)

    def frames(self, key: str, rows: Sequence[int]) -> list[Frame]:
        """Some images of a chunk.

        Raises:
            UserError: the index cannot be read.
        """
        return [_frame(row) for row in self._chunk(key).take(pa.array(rows, pa.int64())).to_pylist()]

    def _read(self, key: str) -> pa.Table:
        table = _remembered(self._destination, index_path(key))
        if table is None:
            raise UserError(f"the index of {self._destination.uri} is damaged", "run the same command again")
        return table


def probe_header(source: Place, file: StoredFile) -> None:
    """Read a header and forget it."""
    with source.reading(file.path) as stream:
        read_file(stream, "")


def _remembered(destination: Place, path: str) -> pa.Table | None:
    if not destination.exists(path):
        return None
    try:
        content = io.BytesIO(destination.read_bytes(path))
        with pq.ParquetFile(content, page_checksum_verification=True) as file:
            return file.read()
    except (pa.ArrowException, OSError):
        return None  # damaged: it is read anew


def _read(
    source: Place, chunk: Chunk, policy: Curation, pseudonymizer: Pseudonymizer, skipped: frozenset[int]
) -> pa.Table:
    rows: list[dict[str, Any]] = []
    rejected: Counter[tuple[Level, Reason]] = Counter()
    attributes: Counter[str] = Counter()
    complete = True
    for number, file in enumerate(chunk.files):
        found = _UNREADABLE if number in skipped else _headers(source, file)
        attributes.update(attribute_names(found.tags))
        rows += [vars(frame_of(header, number, policy, pseudonymizer)) for header in found.images]
        if found.refused:
            rejected["file", found.refused] += 1
        if found.unplaced:
            rejected["image", Reason.NO_GEOMETRY] += found.unplaced
        if found.unscaled:
            rejected["image", Reason.UNREADABLE_HEADER] += found.unscaled
        complete &= found is not _UNREADABLE
    rejects = [[level, reason, count] for (level, reason), count in rejected.items()]
    notes = {"rejected": rejects, "attributes": attributes, "complete": complete}
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    return table.replace_schema_metadata({_NOTES: json.dumps(notes).encode()})


def _headers(source: Place, file: StoredFile) -> ReadFile:
    """A file is to blame only as long as its source can be reached: an outage must not pass for a reject."""
    if file.size < 0:
        return ReadFile(refused=Reason.NOT_DICOM)
    try:
        with source.reading(file.path) as stream:
            return read_file(stream, file.path)
    except UserError:
        source.require()
        return _UNREADABLE


def _summary(table: pa.Table) -> Indexed:
    notes = _notes(table)
    rejected: Counter[tuple[Level, Reason]] = Counter()
    for level, reason, count in notes["rejected"]:
        rejected[level, Reason(reason)] = count
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    frames = [_frame(row) for row in table.to_pylist()]
    for row, frame in enumerate(frames):
        if frame.reason:
            rejected["image", Reason(frame.reason)] += 1
        else:
            places[frame.series_id].append((row, frame.file))
    pieces = [
        Piece(series, *zip(*places[series.series_id], strict=True))
        if places[series.series_id]
        else Piece(series, (), ())
        for series in series_of(frames)
    ]
    return Indexed(tuple(pieces), rejected, Counter(notes["attributes"]), notes["complete"])


def _notes(table: pa.Table) -> dict[str, Any]:
    notes: dict[str, Any] = json.loads(table.schema.metadata[_NOTES])
    return notes


def _frame(row: dict[str, Any]) -> Frame:
    return Frame(**{**row, **{name: tuple(row[name]) for name in _LISTS}})
