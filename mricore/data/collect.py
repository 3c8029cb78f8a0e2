"""Pass 3 of curation: the buckets of all parts -> shards in globally shuffled order."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mricore.config.curation import Curation
from mricore.data.parts import WORK, PartFile, read_batch
from mricore.data.progress import Progress
from mricore.data.shards import SCHEMA, SHARDS, Shard, write_table
from mricore.data.storage import Place
from mricore.data.work import Runner, Work

FORMAT = 2
SHARDS_PER_BUCKET = 4
"""A bucket is held in memory when its shards are written."""


@dataclass(frozen=True)
class Bucket:
    """Where the slices of a bucket are (part file, number of the batch), and which of them are dropped.

    ``shards`` is how many shards they fill, ``first`` the number of the first one.
    """

    batches: tuple[tuple[str, int], ...]
    dropped: frozenset[str]
    first: int
    shards: int
    rows_per_group: int

    @property
    def key(self) -> str:
        """Digest of all that decides the shards; the parts are named by what is in them."""
        content = [
            *(FORMAT, self.batches, sorted(self.dropped), self.first, self.shards, self.rows_per_group)
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def buckets_for(slices: int, policy: Curation) -> int:
    """How many buckets so many slices need."""
    return max(1, round(slices / (SHARDS_PER_BUCKET * policy.slices_per_shard)))


def plan_buckets(
    parts: Sequence[PartFile], dropped: Collection[tuple[int, str]], first: int, policy: Curation
) -> Iterator[Bucket]:
    """All buckets with slices, their shards numbered from ``first`` on.

    ``dropped`` are pairs of bucket and slice. The slices of a bucket are spread evenly over as many shards as
    they need.
    """
    batches: dict[int, list[tuple[str, int]]] = defaultdict(list)
    slices: dict[int, int] = defaultdict(int)
    for part in parts:
        for bucket, (number, rows) in part.buckets.items():
            batches[bucket].append((part.path, number))
            slices[bucket] += rows
    unwanted: dict[int, set[str]] = defaultdict(set)
    for bucket, slice_id in dropped:
        unwanted[bucket].add(slice_id)
    for bucket in sorted(batches):
        shards = -(-(slices[bucket] - len(unwanted[bucket])) // policy.slices_per_shard)
        if shards:
            places, gone = tuple(batches[bucket]), frozenset(unwanted[bucket])
            yield Bucket(places, gone, first, shards, policy.slices_per_row_group)
            first += shards


def collect(destination: Place, bucket: Bucket) -> list[Shard]:
    """Write the shards of a bucket, or tell what is remembered of them; their names tell what is in them.

    Raises:
        UserError: the destination cannot be read or written.
    """
    memory = f"{WORK}/{bucket.key}.json"
    if destination.exists(memory):
        return [_shard(item) for item in json.loads(destination.read_bytes(memory))]
    table = pa.Table.from_batches([read_batch(destination, *place) for place in bucket.batches])
    if bucket.dropped:
        table = table.filter(pc.invert(pc.is_in(table["slice_id"], pa.array(sorted(bucket.dropped)))))
    order = pc.sort_indices(table, [("order", "ascending"), ("slice_id", "ascending")])
    table = table.select(SCHEMA.names)
    bounds = [table.num_rows * number // bucket.shards for number in range(bucket.shards + 1)]
    shards = []
    for number in range(bucket.shards):
        part = table.take(order.slice(bounds[number], bounds[number + 1] - bounds[number]))
        path = f"{SHARDS}/{bucket.first + number:06d}-{bucket.key[:8]}.parquet"
        shards.append(write_table(destination, path, part, bucket.rows_per_group))
    destination.write_bytes(memory, json.dumps([asdict(shard) for shard in shards]).encode())
    return shards


def write_shards(destination: Place, buckets: Sequence[Bucket], run: Runner) -> list[Shard]:
    """The shards of all buckets, with a line of progress.

    Raises:
        UserError: the destination cannot be read or written.
    """
    work: Work[Bucket, Any, list[Shard]] = Work(do=lambda bucket, _: collect(destination, bucket))
    progress = Progress("writing", sum(bucket.shards for bucket in buckets), "shards")
    shards: list[Shard] = []
    for _, written in run(work, buckets):
        shards += written
        progress.update(len(shards))
    return shards


def _shard(item: dict[str, object]) -> Shard:
    return Shard(**{**item, "row_groups": tuple(item["row_groups"])})  # type: ignore[arg-type]
