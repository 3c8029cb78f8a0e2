"""A shard: one Parquet file of de-identified slices, read row group by row group.

Any Parquet reader can read it. Ours takes pixels from their places in the file, where they lie one after the
other in one page: Parquet's would copy them three times, and its checksum takes longer than all of that.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mricore.data import codec
from mricore.data.patience import outlast
from mricore.data.storage import Place, readable_errors
from mricore.errors import UserError
from mricore.records import Intensity, Pixels, SliceRecord

SHARDS = "shards"
"""The folder of the shards in a dataset."""
_INTENSITIES = ("slice_intensity", "volume_intensity")
_ENCODED = ("rows", "columns", "dtype", "bytes", "crc32")
"""What is needed to decode the pixels of a slice, and to know that they are whole."""
_PAGE_BYTES = 2**30
_SIZE_BYTES = 4
"""Before each value of a page."""
_PYTHON_TO_ARROW = {"str": pa.string(), "int": pa.int32(), "float": pa.float64()}


def _columns() -> list[tuple[str, pa.DataType]]:
    columns: list[tuple[str, pa.DataType]] = []
    for field in fields(SliceRecord):
        if field.name == "pixels":
            kinds = (pa.int32(), pa.int32(), pa.string(), pa.int32(), pa.uint32())
            columns += zip(_ENCODED, kinds, strict=True)
        elif field.name in _INTENSITIES:
            columns += [(f"{field.name}_{part.name}", pa.float64()) for part in fields(Intensity)]
        else:
            columns.append((field.name, _PYTHON_TO_ARROW[str(field.type)]))
    return [*columns, ("pixels", pa.large_binary())]


_PLAIN = tuple(field.name for field in fields(SliceRecord) if field.name not in ("pixels", *_INTENSITIES))
_PARTS = {
    name: tuple((f"{name}_{part.name}", part.name) for part in fields(Intensity)) for name in _INTENSITIES
}
"""Columns of each intensity, and the parts of it that they hold."""
_DESCRIBING = (*_PLAIN, *(column for parts in _PARTS.values() for column, _ in parts))
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
    """Write rows of ``SCHEMA`` in the order given; the same rows give the same bytes.

    Raises:
        UserError: a row group is larger than 1 GiB.
    """
    sink = pa.BufferOutputStream()
    # Pixels are compressed already: dictionary and page compression would only cost time. Rows are shuffled,
    # so that statistics tell nothing.
    table = table.combine_chunks()
    pq.write_table(
        table,
        sink,
        row_group_size=rows_per_group,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        data_page_size=_PAGE_BYTES,
        write_page_checksum=True,
    )
    content = sink.getvalue().to_pybytes()
    _require_places(content, table, rows_per_group)
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
    row["dtype"], row["bytes"], row["crc32"] = record.pixels.dtype.name, len(encoded), zlib.crc32(encoded)
    return row


def read_rows(dataset: Place, path: str, group: int, rows: Sequence[int]) -> list[SliceRecord]:
    """Slices ``rows`` of one row group, in the order asked for.

    Raises:
        UserError: the shard is missing, or damaged.
    """
    return [_record(*found) for found in read_pixels(dataset, path, group, rows, _DESCRIBING)]


def read_pixels(
    dataset: Place, path: str, group: int, rows: Sequence[int], columns: Sequence[str]
) -> list[tuple[Pixels, dict[str, Any]]]:
    """Pixels of ``rows`` of one row group, in the order asked for, each with its values of ``columns``.

    Other columns are not read.

    Raises:
        UserError: the shard is missing, or damaged.
    """
    found = []
    with _damage_told(dataset, path):
        described, places, file = _row_group(dataset, path, group, columns)
        with file:
            for row in rows:
                *form, size, checksum = (described[row][name] for name in _ENCODED)
                encoded = file.read_at(size, places[row])
                if zlib.crc32(encoded) != checksum:
                    raise ValueError("wrong checksum")
                values = {name: described[row][name] for name in columns}
                found.append((codec.decode(encoded, *form), values))
    return found


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


def _row_group(
    dataset: Place, path: str, group: int, columns: Sequence[str]
) -> tuple[list[dict[str, Any]], Sequence[int], pa.NativeFile]:
    """Values of ``columns`` and ``_ENCODED`` of each row, where its pixels begin, and the file they are in.

    The pages of these columns have checksums, as a flipped bit would otherwise be another number without a
    word. Of an object in a store, all pixels of the row group are fetched at once. A file is not mapped into
    memory: a failing disk would then kill the process.
    """
    system, full = dataset.arrow(path)

    def read() -> tuple[pa.Table, NDArray[np.int64], pa.NativeFile]:
        source = system.open_input_file(full)
        with pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=dataset.is_remote) as file:
            table = file.read_row_group(group, columns=[*columns, *_ENCODED], use_threads=False)
            places = _places(file.metadata, group, table["bytes"].to_numpy().astype(np.int64))
        if not dataset.is_remote:
            return table, places, source
        with source:
            content = source.read_at(
                int(places[-1]) + table["bytes"][-1].as_py() - int(places[0]), int(places[0])
            )
        return table, places - places[0], pa.BufferReader(content)

    try:
        table, places, file = outlast(read)
    except OSError as error:
        # Parquet tells of damage by an OSError as well; those of storage have a number or AWS's code.
        if error.errno is None and "AWS" not in str(error):
            raise pa.ArrowInvalid("damaged page") from None
        raise
    return table.to_pylist(), places.tolist(), file


def _places(metadata: pq.FileMetaData, group: int, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the pixels of each row begin: behind their size, in a page that ends with the column."""
    column = metadata.row_group(group).column(SCHEMA.get_field_index("pixels"))
    end = column.data_page_offset + column.total_compressed_size
    return end - np.cumsum(sizes[::-1] + _SIZE_BYTES)[::-1] + _SIZE_BYTES


def _require_places(content: bytes, table: pa.Table, rows_per_group: int) -> None:
    """Make sure that pixels lie where readers look for them."""
    metadata = pq.read_metadata(pa.BufferReader(content))
    for group in range(metadata.num_row_groups):
        part = table.slice(group * rows_per_group, rows_per_group)
        first = _places(metadata, group, part["bytes"].to_numpy().astype(np.int64))[0]
        if content[first : first + part["bytes"][0].as_py()] != part["pixels"][0].as_py():
            raise UserError("a row group is larger than 1 GiB", "lower curation.slices_per_row_group")


def _record(pixels: Pixels, values: dict[str, Any]) -> SliceRecord:
    for name in _INTENSITIES:
        values[name] = Intensity(**{part: values.pop(column) for column, part in _PARTS[name]})
    return SliceRecord(pixels=pixels, **values)
