"""A shard: one Parquet file of de-identified slices, read row group by row group."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from mricore.data import codec
from mricore.data.storage import Place, readable_errors
from mricore.errors import UserError
from mricore.records import Intensity, SliceRecord

SHARDS = "shards"
"""The folder of the shards in a dataset."""
_INTENSITIES = ("slice_intensity", "volume_intensity")
_PYTHON_TO_ARROW = {"str": pa.string(), "int": pa.int32(), "float": pa.float64()}


def _columns() -> list[tuple[str, pa.DataType]]:
    columns: list[tuple[str, pa.DataType]] = []
    for field in fields(SliceRecord):
        if field.name == "pixels":
            columns += [
                ("pixels", pa.large_binary()),
                ("rows", pa.int32()),
                ("columns", pa.int32()),
                ("dtype", pa.string()),
            ]
        elif field.name in _INTENSITIES:
            columns += [(f"{field.name}_{part.name}", pa.float64()) for part in fields(Intensity)]
        else:
            columns.append((field.name, _PYTHON_TO_ARROW[str(field.type)]))
    return columns


_PLAIN = tuple(field.name for field in fields(SliceRecord) if field.name not in ("pixels", *_INTENSITIES))
_PARTS = {
    name: tuple((f"{name}_{part.name}", part.name) for part in fields(Intensity)) for name in _INTENSITIES
}
"""Columns of each intensity, and the parts of it that they hold."""
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _columns()])
"""Columns of a shard: those of ``SliceRecord``, intensities flattened, pixels encoded by ``codec``."""


@dataclass(frozen=True)
class Shard:
    """What the manifest knows of a shard: relative path, rows of each row group, size and SHA-256."""

    path: str
    row_groups: tuple[int, ...]
    bytes: int
    sha256: str


def write_shard(target: Place, path: str, records: Sequence[SliceRecord], rows_per_group: int) -> Shard:
    """Write the records in the order given; the same records give the same bytes."""
    rows = [row_of(record, codec.encode(record.pixels)) for record in records]
    return write_table(target, path, pa.Table.from_pylist(rows, schema=SCHEMA), rows_per_group)


def write_table(target: Place, path: str, table: pa.Table, rows_per_group: int) -> Shard:
    """Write rows of ``SCHEMA`` in the order given; the same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    # The pixel column is compressed already; dictionary and page compression would only cost time.
    pq.write_table(
        table.combine_chunks(),
        sink,
        row_group_size=rows_per_group,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    content = sink.getvalue().to_pybytes()
    target.write_bytes(path, content)
    full, rest = divmod(table.num_rows, rows_per_group)
    groups = (rows_per_group,) * full + ((rest,) if rest else ())
    return Shard(path, groups, len(content), hashlib.sha256(content).hexdigest())


def row_of(record: SliceRecord, encoded: bytes) -> dict[str, Any]:
    """A row of ``SCHEMA``; ``encoded`` are the record's pixels as the codec encodes them."""
    row = {name: getattr(record, name) for name in _PLAIN}
    for name in _INTENSITIES:
        intensity = getattr(record, name)
        row.update({column: getattr(intensity, part) for column, part in _PARTS[name]})
    row["pixels"] = encoded
    row["rows"], row["columns"] = record.pixels.shape
    row["dtype"] = record.pixels.dtype.name
    return row


def read_rows(dataset: Place, path: str, group: int, rows: Sequence[int]) -> list[SliceRecord]:
    """Slices ``rows`` of one row group, in the order asked for.

    Raises:
        UserError: the shard is missing, or damaged.
    """
    system, full = dataset.arrow(path)
    try:
        with readable_errors(dataset.uri):
            table = _row_group(system, full, group)
        return [_record(row) for row in table.take(pa.array(list(rows), pa.int64())).to_pylist()]
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise UserError(
            f"shard {path} of {dataset.uri} is damaged ({type(error).__name__})",
            "restore it from a copy, or curate into a new destination",
        ) from None


def _row_group(system: fs.FileSystem, path: str, group: int) -> pa.Table:
    """With checksums, as a flipped bit would otherwise decode to other pixels without a word."""
    try:
        with pq.ParquetFile(path, filesystem=system, page_checksum_verification=True) as file:
            return file.read_row_group(group)
    except OSError as error:
        # Parquet tells of damage by an OSError as well; those of storage have a number or AWS's code.
        if error.errno is None and "AWS" not in str(error):
            raise pa.ArrowInvalid("damaged page") from None
        raise


def _record(row: dict[str, Any]) -> SliceRecord:
    pixels = codec.decode(row.pop("pixels"), row.pop("rows"), row.pop("columns"), row.pop("dtype"))
    for name in _INTENSITIES:
        row[name] = Intensity(**{part: row.pop(column) for column, part in _PARTS[name]})
    return SliceRecord(pixels=pixels, **row)
