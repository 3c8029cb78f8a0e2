"""Small tasks on Ray Data: plain Python in, plain Python out, and a user's error stays one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from mricore.errors import UserError


def stream(function: Callable[[Any], Any], items: Sequence[Any], **options: Any) -> Iterator[Any]:
    """Apply ``function`` to each item in a Ray task; results in the order of the items.

    ``options`` go to ``map_batches``. Items and results travel pickled through the cluster's object store.

    Raises:
        UserError: the function raised it. Ray would wrap it, retry the task and lose it on the way, so it
            travels as a value.
    """
    if not items:
        return

    def work(batch: dict[str, Any]) -> dict[str, Any]:
        return {"result": [pickle.dumps(_outcome(function, item)) for item in batch["item"]]}

    rows = [{"item": pickle.dumps(item)} for item in items]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        work, batch_size=1, **options
    )
    dataset.context.execution_options.preserve_order = True
    for row in dataset.iter_rows():
        result = pickle.loads(row["result"])  # noqa: S301 - our own bytes, never a file's
        if isinstance(result, UserError):
            raise result
        yield result


def _outcome(function: Callable[[Any], Any], item: bytes) -> Any:
    try:
        return function(pickle.loads(item))  # noqa: S301 - our own bytes, never a file's
    except UserError as error:
        return error
