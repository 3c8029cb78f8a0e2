"""What a protocol measured, one number per row: the table that statistics, reports and CSV files share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

import pyarrow as pa
import pyarrow.csv as pacsv


@dataclass(frozen=True, order=True)
class Measurement:
    """A value of one metric.

    ``protocol``: "few_shot", "patch_probe", "linear_probe", "zero_shot" or "knn". ``mode``: "paper", "strict"
    or a setting such as "k=32". ``encoder`` is the name that the user gave it. ``draw`` numbers what was
    drawn at random, the same for all encoders. ``case`` is a volume, or a slice as "case/index"; ``label`` a
    class of the task or "mean"; ``metric`` e.g. "dice_2d", "dice_3d", "nsd_mm", "accuracy"; ``value`` is NaN
    where it is undefined.
    """

    protocol: str
    task: str
    mode: str
    encoder: str
    draw: int
    patient: str
    case: str
    label: str
    metric: str
    value: float


_KINDS = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
SCHEMA = pa.schema([(one.name, _KINDS[str(one.type)]) for one in fields(Measurement)])


def to_table(rows: Iterable[Measurement]) -> pa.Table:
    """Rows in the order given as a table of ``SCHEMA``."""
    columns = list(zip(*(astuple(row) for row in rows), strict=True)) or [()] * len(SCHEMA)
    return pa.table([list(column) for column in columns], SCHEMA)


def to_csv(rows: Iterable[Measurement]) -> bytes:
    """Sorted rows as CSV with a header: the same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    pacsv.write_csv(to_table(sorted(rows)), sink)
    return sink.getvalue().to_pybytes()


def from_csv(content: bytes) -> list[Measurement]:
    """Undo ``to_csv``.

    Raises:
        ValueError: these are not such rows.
    """
    options = pacsv.ConvertOptions(column_types=SCHEMA, null_values=[])
    table = pacsv.read_csv(pa.BufferReader(content), convert_options=options)
    if table.schema.names != SCHEMA.names:
        raise ValueError(f"columns {table.schema.names} are not those of measurements")
    return [Measurement(**row) for row in table.to_pylist()]
