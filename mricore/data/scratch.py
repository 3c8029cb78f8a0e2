"""What curation must know of all files at once, kept on disk so that memory does not grow with the archive.

An SQLite database without a name: the system removes its file when the process ends, however it ends,
so the names of files, which may name patients, never stay behind.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from itertools import groupby
from operator import itemgetter

from mricore.data.chunks import Chunk
from mricore.data.index import Piece
from mricore.data.storage import StoredFile
from mricore.errors import UserError
from mricore.imaging.selection import Series

_SETS = ("locations", "protocols", "keys")


@dataclass(frozen=True, repr=False)
class Part:
    """Images of a series in one chunk: the chunk's key, their rows in the index, and their files."""

    chunk: str
    rows: tuple[int, ...]
    files: tuple[StoredFile, ...]


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
    """The series of an archive, study by study; and the slices that a dataset holds already.

    All methods raise UserError if the disk of temporary files is full.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("BEGIN")
        self._database.execute("CREATE TABLE pieces (study TEXT, series TEXT, chunk INT, content TEXT)")
        self._database.execute(
            "CREATE TABLE stored (series TEXT, slice TEXT, PRIMARY KEY (series, slice)) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE drawn (study TEXT PRIMARY KEY) WITHOUT ROWID")
        self._chunks = 0

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def add(self, chunk: Chunk, pieces: Sequence[Piece]) -> None:
        """Take in the series of the next chunk."""
        self._write(
            "INSERT INTO pieces VALUES (?, ?, ?, ?)",
            [(one.series.study, one.series.series_id, self._chunks, _written(chunk, one)) for one in pieces],
        )
        self._chunks += 1

    def studies(self) -> Iterator[list[Found]]:
        """The series of each study, in the order of their pseudonyms; patients who share its UID together."""
        return self._studies("SELECT study, content FROM pieces ORDER BY study, series, chunk")

    def draw(self, studies: Iterable[str]) -> None:
        """Note of which studies something is drawn."""
        self._write("INSERT OR IGNORE INTO drawn VALUES (?)", ((study,) for study in studies))

    def drawn_studies(self) -> Iterator[list[Found]]:
        """The series of each noted study, in the same order."""
        return self._studies(
            "SELECT study, content FROM pieces WHERE study IN (SELECT study FROM drawn) "
            "ORDER BY study, series, chunk"
        )

    def _studies(self, query: str) -> Iterator[list[Found]]:
        with _full_disk_told():
            for _, pieces in groupby(self._database.execute(query), key=itemgetter(0)):
                read = [_read(content) for _, content in pieces]
                by_series = groupby(read, key=lambda one: one[0].series_id)
                yield [_joined(list(group)) for _, group in by_series]

    def _write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        with _full_disk_told():
            self._database.executemany(statement, rows)

    def add_stored(self, slices: Iterable[tuple[str, str]]) -> None:
        """Take in slices that the dataset holds: pairs of series and slice."""
        self._write("INSERT OR IGNORE INTO stored VALUES (?, ?)", slices)

    def stored(self, series_id: str) -> frozenset[str]:
        """The slices of a series that the dataset holds."""
        rows = self._database.execute("SELECT slice FROM stored WHERE series = ?", (series_id,))
        return frozenset(slice_id for (slice_id,) in rows)


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        problem = f"temporary files cannot be written ({error.sqlite_errorname})"
        remedy = "free some space, or set SQLITE_TMPDIR to a folder with more"
        raise UserError(problem, remedy) from None


def _written(chunk: Chunk, piece: Piece) -> str:
    series = {name: sorted(value) if name in _SETS else value for name, value in asdict(piece.series).items()}
    files = [astuple(chunk.files[number]) for number in piece.files]
    return json.dumps([series, chunk.key, piece.rows, files])


def _read(content: str) -> tuple[Series, Part]:
    series, key, rows, files = json.loads(content)
    for name in _SETS:
        series[name] = frozenset(series[name])
    return Series(**series), Part(key, tuple(rows), tuple(StoredFile(*file) for file in files))


def _joined(pieces: Sequence[tuple[Series, Part]]) -> Found:
    series = pieces[0][0]
    for other, _ in pieces[1:]:
        series = series.joined(other)
    return Found(series, tuple(part for _, part in pieces if part.rows))
