"""A shard: one Parquet file of de-identified slices, read row group by row group."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
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
                ("pixels", pa.binary()),
                ("rows", pa.int32()),
                ("columns", pa.int32()),
                ("dtype", pa.string()),
            ]
        elif field.name in _INTENSITIES:
            columns += [(f"{field.name}_{part.name}", pa.float64()) for part in fields(Intensity)]
        else:
            columns.append((field.name, _PYTHON_TO_ARROW[str(field.type)]))
    return columns


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
    table = pa.Table.from_pylist([_row(record) for record in records], schema=SCHEMA)
    sink = io.BytesIO()
    # The pixel column is compressed already; dictionary and page compression would only cost time.
    pq.write_table(
        table,
        sink,
        row_group_size=rows_per_group,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    content = sink.getvalue()
    target.write_bytes(path, content)
    full, rest = divmod(len(records), rows_per_group)
    groups = (rows_per_group,) * full + ((rest,) if rest else ())
    return Shard(path, groups, len(content), hashlib.sha256(content).hexdigest())


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


def _row(record: SliceRecord) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in fields(SliceRecord):
        value = getattr(record, field.name)
        if field.name == "pixels":
            row["pixels"] = codec.encode(value)
            row["rows"], row["columns"] = value.shape
            row["dtype"] = value.dtype.name
        elif field.name in _INTENSITIES:
            row.update({f"{field.name}_{part}": number for part, number in asdict(value).items()})
        else:
            row[field.name] = value
    return row


def _record(row: dict[str, Any]) -> SliceRecord:
    pixels = codec.decode(row.pop("pixels"), row.pop("rows"), row.pop("columns"), row.pop("dtype"))
    for name in _INTENSITIES:
        row[name] = Intensity(**{part.name: row.pop(f"{name}_{part.name}") for part in fields(Intensity)})
    return SliceRecord(pixels=pixels, **row)
