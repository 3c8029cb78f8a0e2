"""What curation must know of all files at once, kept on disk so that memory does not grow with the archive.

An SQLite database without a name: the system removes its file when the process ends, however it ends,
so the names of files, which may name patients, never stay behind.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter

from mricore.data.chunks import Chunk
from mricore.data.index import Piece
from mricore.imaging.selection import Series

_SETS = ("locations", "protocols", "keys")


@dataclass(frozen=True, repr=False)
class Part:
    """Images of a series in one chunk: the chunk's key, their rows in the index, the paths of their files."""

    chunk: str
    rows: tuple[int, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Found:
    """A series with all its parts, in the order of the listing."""

    series: Series
    parts: tuple[Part, ...]

    @property
    def images(self) -> int:
        """Number of usable images."""
        return self.series.images


class Scratch:
    """The series of an archive, exam by exam; and the slices that a dataset holds already."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("BEGIN")
        self._database.execute("CREATE TABLE pieces (exam TEXT, series TEXT, chunk INT, content TEXT)")
        self._database.execute(
            "CREATE TABLE stored (series TEXT, slice TEXT, PRIMARY KEY (series, slice)) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE drawn (exam TEXT PRIMARY KEY) WITHOUT ROWID")
        self._chunks = 0

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def add(self, chunk: Chunk, pieces: Sequence[Piece]) -> None:
        """Take in the series of the next chunk."""
        self._database.executemany(
            "INSERT INTO pieces VALUES (?, ?, ?, ?)",
            [
                (one.series.exam_id, one.series.series_id, self._chunks, _written(chunk, one))
                for one in pieces
            ],
        )
        self._chunks += 1

    def exams(self) -> Iterator[list[Found]]:
        """The series of each exam; exams and series in the order of their pseudonyms."""
        return self._exams("SELECT exam, content FROM pieces ORDER BY exam, series, chunk")

    def draw(self, exams: Iterable[str]) -> None:
        """Note which exams are drawn."""
        self._database.executemany("INSERT OR IGNORE INTO drawn VALUES (?)", ((exam,) for exam in exams))

    def drawn_exams(self) -> Iterator[list[Found]]:
        """The series of each drawn exam, in the same order."""
        return self._exams(
            "SELECT exam, content FROM pieces WHERE exam IN (SELECT exam FROM drawn) "
            "ORDER BY exam, series, chunk"
        )

    def _exams(self, query: str) -> Iterator[list[Found]]:
        for _, pieces in groupby(self._database.execute(query), key=itemgetter(0)):
            read = [_read(content) for _, content in pieces]
            by_series = groupby(read, key=lambda one: one[0].series_id)
            yield [_joined(list(group)) for _, group in by_series]

    def add_stored(self, slices: Iterable[tuple[str, str]]) -> None:
        """Take in slices that the dataset holds: pairs of series and slice."""
        self._database.executemany("INSERT OR IGNORE INTO stored VALUES (?, ?)", slices)

    def stored(self, series_id: str) -> frozenset[str]:
        """The slices of a series that the dataset holds."""
        rows = self._database.execute("SELECT slice FROM stored WHERE series = ?", (series_id,))
        return frozenset(slice_id for (slice_id,) in rows)


def _written(chunk: Chunk, piece: Piece) -> str:
    series = {name: sorted(value) if name in _SETS else value for name, value in asdict(piece.series).items()}
    return json.dumps([series, chunk.key, piece.rows, [chunk.files[number].path for number in piece.files]])


def _read(content: str) -> tuple[Series, Part]:
    series, key, rows, paths = json.loads(content)
    for name in _SETS:
        series[name] = frozenset(series[name])
    return Series(**series), Part(key, tuple(rows), tuple(paths))


def _joined(pieces: Sequence[tuple[Series, Part]]) -> Found:
    series = pieces[0][0]
    for other, _ in pieces[1:]:
        series = series.joined(other)
    return Found(series, tuple(part for _, part in pieces if part.rows))
