"""A hospital's table of exams: which exams are wanted, and the report type of each (paper section 4.1).

The table is CSV (comma, semicolon, tab or bar; any usual encoding) or Parquet. Accession numbers and UIDs
become keyed pseudonyms as they are read, and messages never quote what stands in the table.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mricore.data.storage import place
from mricore.errors import UserError

_COMMON_NAMES = {
    "accession": ("accession", "accessionnumber", "accessionno", "accno"),
    "study": ("studyuid", "studyinstanceuid"),
    "type": (
        *("reporttype", "examtype", "procedure", "proceduredescription", "protocol", "studydescription"),
        *("examdescription", "description"),
    ),
}
"""Names of columns, best first; only their letters and digits count, in lower case."""
_COLUMNS_HINT = "name the columns: accession=COLUMN,type=COLUMN (or study=COLUMN for study instance UIDs)"
_SEPARATORS = ",;\t|"
_HEAD_BYTES = 1 << 16
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Row = tuple[str, str, str]
"""Accession number, study instance UID, report type; empty where the table has none."""


@dataclass(frozen=True, repr=False)
class ExamTable:
    """Report types of each exam, by the pseudonym of its accession number and of its study instance UID.

    An exam has several report types if it stands in several rows, and none if its cell is empty.
    """

    types: Mapping[str, tuple[str, ...]]

    def __repr__(self) -> str:
        return f"ExamTable({len(self.types)} keys, content withheld)"


def read_exam_table(uri: str, pseudonym: Callable[[str], str], columns: str = "") -> ExamTable:
    """Read a table, local or in S3; ``pseudonym`` turns an accession number or UID into a key.

    Columns are recognised by common names. ``columns`` names others: "accession=COLUMN,type=COLUMN", with
    "study=COLUMN" for study instance UIDs. Rows without accession number and UID are passed over.

    Raises:
        UserError: the table cannot be read, lacks a column, or has no exam.
    """
    asked = _asked_columns(columns)
    source = place(uri)
    with source.reading("") as stream:
        try:
            types = _types(_rows(stream, asked, source.uri), pseudonym)
        except (ValueError, pa.ArrowException) as error:
            raise _unreadable(source.uri, error) from None
    if not types:
        raise UserError(f"{source.uri} has no row with an exam", "give a table with one exam per row")
    return ExamTable(types)


def _types(rows: Iterable[Row], pseudonym: Callable[[str], str]) -> dict[str, tuple[str, ...]]:
    types: dict[str, tuple[str, ...]] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # a million exams have a few hundred report types
    for *identifiers, kind in rows:
        for key in (pseudonym(identifier) for identifier in identifiers if identifier):
            known = types.get(key, ())
            together = (*known, kind) if kind and kind not in known else known
            types[key] = shared.setdefault(together, together)
    return types


def _rows(stream: BinaryIO, asked: Mapping[str, str], uri: str) -> Iterator[Row]:
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if not head.strip():
        raise UserError(f"{uri} is empty", "give a table with one exam per row")
    if head.startswith(_WORKBOOKS):
        raise UserError(f"{uri} is an Excel workbook", "save the sheet as CSV UTF-8 and give that file")
    batches = _parquet if head.startswith(b"PAR1") else _csv
    for batch in batches(stream, head, asked, uri):
        empty = [""] * batch.num_rows
        cells = {name: _texts(batch[name]) for name in batch.schema.names}
        yield from zip(*(cells.get(role, empty) for role in _COMMON_NAMES), strict=True)


def _parquet(stream: BinaryIO, _head: bytes, asked: Mapping[str, str], uri: str) -> Iterator[pa.RecordBatch]:
    """Batches whose columns are called by their roles."""
    table = pq.ParquetFile(stream)
    schema = table.schema_arrow
    found = _columns(schema.names, asked, uri)
    for role, index in found.items():
        if pa.types.is_floating(schema.field(index).type):
            raise UserError(f"column {role} of {uri} holds decimal numbers", "store it as text")
    for batch in table.iter_batches(columns=[schema.names[index] for index in found.values()]):
        yield pa.record_batch({role: batch[schema.names[index]] for role, index in found.items()})


def _csv(stream: BinaryIO, head: bytes, asked: Mapping[str, str], uri: str) -> Iterator[pa.RecordBatch]:
    """Batches of bytes whose columns are called by their roles."""
    separator, lines, names = _header(head, asked)
    found = _columns(names, asked, uri)
    labels = [str(index) for index in range(len(names))]
    roles = {labels[index]: role for role, index in found.items()}
    reader = pyarrow.csv.open_csv(
        stream,
        pyarrow.csv.ReadOptions(
            column_names=labels,
            skip_rows=lines,
            encoding="utf-16" if head.startswith(_UTF16) else "utf8",
            use_threads=False,  # else nobody knows the number of a bad row
        ),
        pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            include_columns=list(roles), column_types=dict.fromkeys(roles, pa.binary())
        ),
    )
    for batch in reader:
        yield batch.rename_columns(list(roles.values()))


def _header(head: bytes, asked: Mapping[str, str]) -> tuple[str, int, list[str]]:
    """The separator under which most columns are known, the lines up to the header, the names in it."""
    if head.startswith(_UTF16):
        text = head.decode("utf-16", "ignore")
    else:
        text = _decoded(head[: head.rfind(b"\n") + 1] or head).removeprefix("\ufeff")
    readings = []
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        names = next(([cell.strip() for cell in row] for row in reader if any(map(str.strip, row))), [])
        known = sum(bool(_places(names, role, asked)) for role in _COMMON_NAMES)
        readings.append((known, len(names), separator, reader.line_num, names))
    _, _, separator, lines, names = max(readings, key=lambda reading: reading[:2])
    return separator, lines, names


def _columns(names: Sequence[str], asked: Mapping[str, str], uri: str) -> dict[str, int]:
    """Where the column of each role is. Names of the table are not quoted: without a header they are data."""
    found: dict[str, int] = {}
    for role in _COMMON_NAMES:
        places = _places(names, role, asked)
        if len(places) > 1:
            raise UserError(f"{uri} has several columns for {role}", _COLUMNS_HINT)
        if places:
            found[role] = places[0]
        elif role in asked:
            raise UserError(
                f"{uri} has no column {asked[role]!r}", "check the name in the table's first line"
            )
    if "type" not in found:
        raise UserError(f"no column of {uri} is known to hold report types", _COLUMNS_HINT)
    if len(found) == 1:
        raise UserError(f"no column of {uri} is known to hold accession numbers or study UIDs", _COLUMNS_HINT)
    return found


def _places(names: Sequence[str], role: str, asked: Mapping[str, str]) -> list[int]:
    """Columns with the name asked for, else with the best common name of the role."""
    if role in asked:
        return [index for index, name in enumerate(names) if name == asked[role]]
    plain = [re.sub("[^a-z0-9]", "", name.lower()) for name in names]
    best = next((name for name in _COMMON_NAMES[role] if name in plain), None)
    return [index for index, name in enumerate(plain) if name == best]


def _asked_columns(columns: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in columns.split(",") if part.strip()]
    asked = {role.strip(): name.strip() for role, _, name in pairs}
    wrong = next((role for role, name in asked.items() if role not in _COMMON_NAMES or not name), None)
    if wrong is not None:
        raise UserError(f"columns {columns!r}: {wrong!r} is not understood", _COLUMNS_HINT)
    return asked


def _texts(cells: Any) -> list[str]:
    """The cells of a column as text without blanks around it; accession numbers keep leading zeros."""
    if pa.types.is_binary(cells.type):
        return [_decoded(cell or b"").strip() for cell in cells.to_pylist()]
    return [(cell or "").strip() for cell in cells.cast(pa.string()).to_pylist()]


def _decoded(cell: bytes) -> str:
    """UTF-8, else Latin-1, in which every byte is a letter."""
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.decode("latin-1")


def _unreadable(uri: str, error: Exception) -> UserError:
    """Of the error's text only numbers are safe to show, the rest quotes the table."""
    if "Could not skip" in str(error):  # nothing follows the header
        return UserError(f"{uri} has no rows", "give a table with one exam per row")
    counts = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
    if counts is None:
        return UserError(f"{uri} cannot be read as a table", "save it as CSV (UTF-8) or Parquet")
    row, expected, got = counts.groups()
    return UserError(
        f"row {row} of {uri} (blank ones not counted) has {got} columns instead of {expected}",
        "correct it; a text that contains the separator needs quotation marks",
    )
