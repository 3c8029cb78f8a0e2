"""The ledger of a dataset: which slices of which series were taken up, and what they are.

One Parquet file per task of the second pass, one row per image of a good volume. It tells a later
curation what is there already, and all counts of the manifest are counted from it.
"""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.imaging.selection import Exam
from mricore.records import Level, Reason

LEDGER = "ledger"
"""The folder of the ledger in a dataset."""
STORED = "stored"
EMPTY = "empty"
CATEGORIES = ("location", "sequence", "plane", "vendor")
_TEXTS = ("slice_id", "volume_id", "series_id", "exam_id", "patient_id", "protocol", "state", *CATEGORIES)
SCHEMA = pa.schema(
    [pa.field(name, pa.string()) for name in _TEXTS]
    + [pa.field("field_strength", pa.float64())]
    + [pa.field("fingerprint", pa.binary()), pa.field("content", pa.binary())]
)
"""``state`` is STORED or EMPTY; ``fingerprint`` and ``content`` find near and exact repeats."""
_NOTES = b"mricore"
_DROPPED = pa.schema([pa.field("slice_id", pa.string()), pa.field("reason", pa.string())])


def write_ledger(dataset: Place, path: str, rows: Sequence[Mapping[str, Any]], notes: Any) -> None:
    """Write one file of the ledger; ``notes`` (JSON) say what else its task found."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    _write(dataset, path, table.replace_schema_metadata({_NOTES: json.dumps(notes).encode()}))


def read_notes(dataset: Place, path: str) -> Any:
    """The notes of a file of the ledger."""
    return json.loads(_read(dataset, path).schema.metadata[_NOTES])


def ledger_rows(dataset: Place, paths: Iterable[str], columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Some columns of all rows, file by file."""
    for path in paths:
        table = _read(dataset, path, columns)
        yield from zip(*(table[name].to_pylist() for name in columns), strict=True)


def write_dropped(dataset: Place, path: str, reasons: Mapping[str, str]) -> None:
    """Write which slices of the ledger were dropped as repeats, and why."""
    columns = {"slice_id": list(reasons), "reason": list(reasons.values())}
    _write(dataset, path, pa.Table.from_pydict(columns, schema=_DROPPED))


def read_dropped(dataset: Place, paths: Iterable[str]) -> dict[str, str]:
    """All slices of the ledger that were dropped as repeats, with the reason of each."""
    return dict(ledger_rows(dataset, paths, ("slice_id", "reason")))


def stored_exams(dataset: Place, paths: Iterable[str]) -> list[Exam]:
    """The exams of which something was taken up."""
    rows = ledger_rows(dataset, paths, ("exam_id", "patient_id", "protocol"))
    return [Exam(*row) for row in dict.fromkeys(rows)]


def count_rejected(
    dataset: Place, paths: Iterable[str], dropped: Iterable[str]
) -> Counter[tuple[Level, Reason]]:
    """Images of good volumes that are not in the dataset: those without contrast, and dropped repeats."""
    rejected: Counter[tuple[Level, Reason]] = Counter()
    for (state,) in ledger_rows(dataset, paths, ("state",)):
        if state == EMPTY:
            rejected["image", Reason.EMPTY_IMAGE] += 1
    for (reason,) in ledger_rows(dataset, dropped, ("reason",)):
        rejected["image", Reason(reason)] += 1
    return rejected


def count(
    dataset: Place, paths: Iterable[str], dropped: Collection[str]
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Slices, volumes, exams and patients of the dataset, and slices per value of each attribute.

    The distributions are the paper's Fig. 1b, most frequent first. A volume lies in one file of the ledger.
    """
    columns = ("slice_id", "state", "volume_id", "exam_id", "patient_id", "field_strength", *CATEGORIES)
    slices = volumes = 0
    exams: set[str] = set()
    patients: set[str] = set()
    tables: dict[str, Counter[str]] = defaultdict(Counter)
    for path in paths:
        rows = [
            row for row in ledger_rows(dataset, [path], columns) if row[1] == STORED and row[0] not in dropped
        ]
        slices += len(rows)
        volumes += len({row[2] for row in rows})
        exams.update(row[3] for row in rows)
        patients.update(row[4] for row in rows)
        tables["field_strength"].update(_field(row[5]) for row in rows)
        for place, name in enumerate(CATEGORIES, 6):
            tables[name].update(row[place] for row in rows)
    counts = {"slices": slices, "volumes": volumes, "exams": len(exams), "patients": len(patients)}
    return counts, {name: _ranked(tables[name]) for name in (*CATEGORIES, "field_strength")}


def _field(strength: float) -> str:
    return "unknown" if isnan(strength) else f"{strength:.1f} T"


def _ranked(table: Counter[str]) -> dict[str, int]:
    return dict(sorted(table.items(), key=lambda item: (-item[1], item[0])))


def _write(dataset: Place, path: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    dataset.write_bytes(path, sink.getvalue().to_pybytes())


def _read(dataset: Place, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        content = io.BytesIO(dataset.read_bytes(path))
        with pq.ParquetFile(content, page_checksum_verification=True) as file:
            return file.read(columns and list(columns))
    except (pa.ArrowException, OSError):
        raise UserError(f"{dataset.joined(path)} is damaged", "curate into a new destination") from None
