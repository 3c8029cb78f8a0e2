"""Volumes that are there more than once, and slices that look alike, among any number of slices.

Slices are kept in private SQLite databases without a name: on disk, so that memory stays flat, and gone with
the process however it ends. Ids are pseudonyms; nothing else of a patient comes here.

Near-duplicates are found by 8 bands of 32 bits: fingerprints that differ in at most 7 bits share a band.
Slices are compared with representatives only, which differ from each other in more than 7 bits, so a thousand
slices that look the same are one candidate.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from itertools import groupby
from operator import itemgetter
from typing import Literal

from mricore.imaging.fingerprints import BITS, distance, is_telling

MAX_DISTANCE = 7
"""Bits in which near-duplicates may differ. Copies with another scale, 8 bits, JPEG of quality 75 or 1% of
noise differ in no more; of neighbouring slices 6% at 1 mm and 1% at more differ in no more either, and of
slices of different patients none."""
_BANDS = MAX_DISTANCE + 1
_CACHE_KIB = 65536
Relation = Literal["series", "patient", "elsewhere"]
"""Where the representative of a slice is: in the same series, in another one of the patient, or elsewhere."""


@dataclass(frozen=True)
class FingerprintedSlice:
    """A slice by its pseudonyms, what it looks like, and the digest of its content."""

    slice_id: str
    volume_id: str
    series_id: str
    patient_id: str
    fingerprint: bytes
    digest: bytes


@dataclass(frozen=True)
class NearDuplicate:
    """A slice that looks like another one that comes before it, its representative."""

    slice_id: str
    representative_id: str
    distance: int
    relation: Relation


class DuplicateFinder:
    """Finds duplicates among slices that are fed in any order.

    What comes first decides what is a duplicate of what: by round, then by id. What an earlier round of
    curation stored so never becomes the duplicate of what a later one finds.
    """

    def __init__(self) -> None:
        self._database = _private_database(
            "CREATE TABLE slices (round INTEGER, slice_id TEXT, volume_id TEXT, series_id TEXT,"
            " patient_id TEXT, fingerprint BLOB, digest BLOB)",
            "CREATE TABLE volumes (content BLOB PRIMARY KEY, volume_id TEXT) WITHOUT ROWID",
            "CREATE TABLE repeats (volume_id TEXT PRIMARY KEY, original_id TEXT) WITHOUT ROWID",
        )

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def add(self, slices: Iterable[FingerprintedSlice], round_: int = 0) -> None:
        """Feed slices, those of a volume all in one round, each once."""
        rows = ((round_, *astuple(one)) for one in slices)
        self._database.executemany("INSERT INTO slices VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def repeated_volumes(self) -> Iterator[tuple[str, str]]:
        """Volumes with the same slices as an earlier one, in whatever order; each with the first of them."""
        self._find_repeats()
        yield from self._database.execute("SELECT volume_id, original_id FROM repeats ORDER BY volume_id")

    def near_duplicates(self) -> Iterator[NearDuplicate]:
        """Slices that look like a representative; any other slice becomes one.

        Of several representatives it is the nearest. Slices of repeated volumes, and slices with too little
        to see, are neither.
        """
        self._find_repeats()
        slices = self._database.execute(
            "SELECT slice_id, series_id, patient_id, fingerprint FROM slices"
            " WHERE volume_id NOT IN (SELECT volume_id FROM repeats) ORDER BY round, slice_id"
        )
        with closing(_Representatives()) as representatives:
            for one in slices:
                if is_telling(one[3]):
                    found = representatives.nearest(*one)
                    if found is None:
                        representatives.add(*one)
                    else:
                        yield found

    def _find_repeats(self) -> None:
        self._database.execute("DELETE FROM volumes")
        self._database.execute("DELETE FROM repeats")
        rows = self._database.execute(
            "SELECT round, volume_id, digest FROM slices ORDER BY round, volume_id, digest"
        )
        for (_, volume_id), slices in groupby(rows, itemgetter(0, 1)):
            content = hashlib.sha256(b"".join(digest for *_, digest in slices)).digest()
            known = "SELECT volume_id FROM volumes WHERE content = ?"
            original = self._database.execute(known, (content,)).fetchone()
            if original is None:
                self._database.execute("INSERT INTO volumes VALUES (?, ?)", (content, volume_id))
            else:
                self._database.execute("INSERT INTO repeats VALUES (?, ?)", (volume_id, *original))


class _Representatives:
    """Slices of which no two are near-duplicates, found by the bands of their fingerprints."""

    def __init__(self) -> None:
        self._database = _private_database(
            "CREATE TABLE slices (number INTEGER PRIMARY KEY, slice_id TEXT, series_id TEXT,"
            " patient_id TEXT, fingerprint BLOB)",
            "CREATE TABLE bands (band INTEGER, number INTEGER, PRIMARY KEY (band, number)) WITHOUT ROWID",
        )

    def close(self) -> None:
        self._database.close()

    def add(self, slice_id: str, series_id: str, patient_id: str, fingerprint: bytes) -> None:
        insert = "INSERT INTO slices (slice_id, series_id, patient_id, fingerprint) VALUES (?, ?, ?, ?)"
        values = (slice_id, series_id, patient_id, fingerprint)
        number = self._database.execute(insert, values).lastrowid
        rows = [(band, number) for band in _bands(fingerprint)]
        self._database.executemany("INSERT INTO bands VALUES (?, ?)", rows)

    def nearest(
        self, slice_id: str, series_id: str, patient_id: str, fingerprint: bytes
    ) -> NearDuplicate | None:
        """What the slice is a near-duplicate of, if of anything."""
        candidates = self._database.execute(
            "SELECT number, fingerprint FROM slices"
            " WHERE number IN (SELECT number FROM bands WHERE band IN (?, ?, ?, ?, ?, ?, ?, ?))",
            _bands(fingerprint),
        )
        apart, number = min(((distance(fingerprint, its), one) for one, its in candidates), default=(BITS, 0))
        if apart > MAX_DISTANCE:
            return None
        select = "SELECT slice_id, series_id, patient_id FROM slices WHERE number = ?"
        representative_id, *where = self._database.execute(select, (number,)).fetchone()
        return NearDuplicate(slice_id, representative_id, apart, _relation([series_id, patient_id], where))


def _relation(series_and_patient: list[str], others: list[str]) -> Relation:
    if series_and_patient == others:
        return "series"
    return "patient" if series_and_patient[1] == others[1] else "elsewhere"


def _bands(fingerprint: bytes) -> list[int]:
    """The bits of each band, led by the band's number."""
    size = BITS // 8 // _BANDS
    return [band << 8 * size | int.from_bytes(fingerprint[band * size :][:size]) for band in range(_BANDS)]


def _private_database(*tables: str) -> sqlite3.Connection:
    """A database without a name, in one transaction that never ends."""
    database = sqlite3.connect("", isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("BEGIN")
    for table in tables:
        database.execute(table)
    return database
