"""A shard: one Parquet file of de-identified slices, read row group by row group."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mricore.data import codec
from mricore.data.patience import outlast
from mricore.data.storage import Place, readable_errors
from mricore.errors import UserError
from mricore.records import Intensity, Pixels, SliceRecord

SHARDS = "shards"
"""The folder of the shards in a dataset."""
_INTENSITIES = ("slice_intensity", "volume_intensity")
_ENCODED = ("pixels", "rows", "columns", "dtype")
"""What the codec needs for a slice."""
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


class RowGroups(Sequence[tuple[str, int, int]]):
    """All row groups of some shards as (path, index in the shard, rows), in a few bytes each.

    ``rows`` (n,) are the rows of each.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        """Number the row groups of the shards through, in the order given."""
        self._paths = [shard.path for shard in shards]
        self._ends = np.cumsum([len(shard.row_groups) for shard in shards], dtype=np.int64)
        self.rows = np.array([rows for shard in shards for rows in shard.row_groups], np.int64)

    def __len__(self) -> int:
        """Number of row groups."""
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> tuple[str, int, int]: ...
    @overload
    def __getitem__(self, number: slice) -> list[tuple[str, int, int]]: ...
    def __getitem__(self, number: int | slice) -> Any:
        """One row group, or some."""
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        rows = int(self.rows[number])
        number = int(number) % len(self)
        shard = int(np.searchsorted(self._ends, number, side="right"))
        return self._paths[shard], number - int(self._ends[shard - 1] if shard else 0), rows


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
    with _damage_told(dataset, path):
        table = _row_group(dataset, path, group)
        return [_record(row) for row in table.take(pa.array(list(rows), pa.int64())).to_pylist()]


def read_pixels(
    dataset: Place, path: str, group: int, rows: Sequence[int], columns: Sequence[str]
) -> Iterator[tuple[Pixels, dict[str, Any]]]:
    """Pixels of ``rows`` of one row group, one by one, each with its values of ``columns``.

    No other columns are read.

    Raises:
        UserError: the shard is missing, or damaged.
    """
    with _damage_told(dataset, path):
        table = _row_group(dataset, path, group, (*columns, *_ENCODED))
        encoded = table.column("pixels")
        described = table.drop_columns("pixels").to_pylist()
    for row in rows:
        with _damage_told(dataset, path):
            values = described[row]
            shape = (values.pop(name) for name in _ENCODED[1:])
            pixels = codec.decode(encoded[row].as_buffer(), *shape)  # a view: nothing is copied
        yield pixels, values


@contextmanager
def _damage_told(dataset: Place, path: str) -> Iterator[None]:
    try:
        with readable_errors(dataset.uri):
            yield
    except (pa.ArrowException, ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"shard {path} of {dataset.uri} is damaged ({type(error).__name__})",
            "restore it from a copy, or curate into a new destination",
        ) from None


def _row_group(dataset: Place, path: str, group: int, columns: Sequence[str] | None = None) -> pa.Table:
    """With checksums, as a flipped bit would otherwise decode to other pixels without a word.

    Buffering joins the columns' pieces: one request to an object store instead of one per column.
    """
    system, full = dataset.arrow(path)

    def read() -> pa.Table:
        with pq.ParquetFile(
            full, filesystem=system, page_checksum_verification=True, pre_buffer=True
        ) as file:
            return file.read_row_group(group, columns=columns, use_threads=False)

    try:
        return outlast(read)
    except OSError as error:
        # Parquet tells of damage by an OSError as well; those of storage have a number or AWS's code.
        if error.errno is None and "AWS" not in str(error):
            raise pa.ArrowInvalid("damaged page") from None
        raise


def _record(row: dict[str, Any]) -> SliceRecord:
    pixels = codec.decode(*(row.pop(name) for name in _ENCODED))
    for name in _INTENSITIES:
        row[name] = Intensity(**{part: row.pop(column) for column, part in _PARTS[name]})
    return SliceRecord(pixels=pixels, **row)
