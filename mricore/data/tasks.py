"""Streams of tables from Ray Data tasks, in order; a user's error stays one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray

from mricore.errors import UserError

BLOCK_BYTES = 128 * 1024**2
"""Ray's own choice."""
_ERROR = "error"


def stream(
    function: Callable[[Any], Iterable[pa.Table]],
    items: Sequence[Any],
    schema: pa.Schema,
    block_bytes: int = BLOCK_BYTES,
    **options: Any,
) -> Iterator[pa.Table]:
    """Apply ``function`` to each item in a Ray task; the rows of its tables in the order of the items.

    The tables have ``schema``. On the way they become blocks of about ``block_bytes``, of which a task makes
    two more than were asked for. ``options`` go to ``map_batches``. Items travel pickled; tables lie in the
    cluster's object store, and are read where they lie.

    Raises:
        UserError: the function raised it. Ray would wrap it, retry the task and lose it on the way, so it
            travels as a value.
    """
    if not items:
        return
    noted = schema.append(pa.field(_ERROR, pa.large_binary()))

    def work(batch: dict[str, Any]) -> Iterator[pa.Table]:
        (item,) = batch["item"]
        try:
            for table in function(pickle.loads(item)):  # noqa: S301 - our own bytes, never a file's
                yield table.append_column(noted.field(_ERROR), pa.nulls(table.num_rows, pa.large_binary()))
        except UserError as error:
            row = {field.name: [b"" if pa.types.is_large_binary(field.type) else None] for field in schema}
            yield pa.table({**row, _ERROR: [pickle.dumps(error)]}, noted)

    rows = [{"item": pickle.dumps(item)} for item in items]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        work, batch_size=1, **options
    )
    dataset.context.execution_options.preserve_order = True
    dataset.context.target_max_block_size = block_bytes
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        for error in table[_ERROR].drop_null():
            raise pickle.loads(error.as_buffer())  # noqa: S301 - our own bytes, never a file's
        yield table
