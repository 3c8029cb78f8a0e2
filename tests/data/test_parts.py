"""Part files and the buckets that are collected from them: a global shuffle that loses nothing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from records import slice_record

from mricore.config.curation import Curation
from mricore.data import codec
from mricore.data.collect import collect, plan_buckets
from mricore.data.parts import WORK, PartWriter, bucket_of, read_batch
from mricore.data.shards import read_rows, row_of
from mricore.data.storage import place
from mricore.errors import UserError

BUCKETS = 4


def rows_of(count, seed=0):
    """Rows of slices with random orders."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        record = replace(slice_record(number, rng), slice_id=f"{seed}.{number}")
        order = int(rng.integers(0, 2**64, dtype=np.uint64))
        yield {**row_of(record, codec.encode(record.pixels)), "order": order}


@pytest.fixture
def dataset(tmp_path):
    return place(str(tmp_path))


def parts_of(dataset, rows, name="part", split=1):
    writer = PartWriter(dataset, name, BUCKETS)
    for first in range(split):
        writer.add(rows[first::split])
    return writer.finish()


def shuffled(dataset, parts, dropped=(), per_shard=10, first=0):
    policy = Curation(slices_per_shard=per_shard, slices_per_row_group=4)
    shards = [
        shard for bucket in plan_buckets(parts, dropped, first, policy) for shard in collect(dataset, bucket)
    ]
    ids = [
        record.slice_id
        for shard in shards
        for group, rows in enumerate(shard.row_groups)
        for record in read_rows(dataset, shard.path, group, range(rows))
    ]
    return shards, ids


@pytest.mark.parametrize("order", [0, 1, 2**62 - 1, 2**62, 2**63, 2**64 - 1])
def test_buckets_cut_the_range_of_orders_into_equal_pieces(order):
    assert bucket_of(order, BUCKETS) == order // 2**62
    assert bucket_of(order, 1) == 0


def test_a_part_gives_back_its_rows_bucket_by_bucket(dataset):
    rows = list(rows_of(50))
    (part,) = parts_of(dataset, rows)
    assert sum(count for _, count in part.buckets.values()) == 50
    for bucket, (number, count) in part.buckets.items():
        found = read_batch(dataset, part.path, number).to_pylist()
        expected = [row for row in rows if bucket_of(row["order"], BUCKETS) == bucket]
        assert len(found) == count
        for name in ("slice_id", "order", "pixels", "rows", "slice_intensity_p99_5"):
            assert [row[name] for row in found] == [row[name] for row in expected]


def test_shards_hold_all_slices_once_in_the_order_of_their_random_numbers(dataset):
    rows = [list(rows_of(40, seed)) for seed in range(3)]
    parts = [part for seed, some in enumerate(rows) for part in parts_of(dataset, some, f"part{seed}")]
    shards, ids = shuffled(dataset, parts)
    everything = sorted((row for some in rows for row in some), key=lambda row: row["order"])
    assert ids == [row["slice_id"] for row in everything]
    numbers = [shard.path.split("-")[0] for shard in shards]
    assert numbers == [f"shards/{k:06d}" for k in range(len(shards))]
    sizes = [sum(shard.row_groups) for shard in shards]
    assert max(sizes) <= 10
    assert min(sizes) >= 5


def test_the_same_slices_in_other_parts_give_the_same_shards(dataset, tmp_path):
    rows = list(rows_of(60))
    one, _ = shuffled(dataset, parts_of(dataset, rows))
    other = place(str(tmp_path / "other"))
    parts = [part for k in range(4) for part in parts_of(other, rows[k::4][::-1], f"p{k}")]
    again, _ = shuffled(other, parts)
    assert [shard.sha256 for shard in one] == [shard.sha256 for shard in again]


def test_dropped_slices_are_left_out_and_shards_shrink(dataset):
    rows = list(rows_of(40))
    gone = rows[::3]
    dropped = [(bucket_of(row["order"], BUCKETS), row["slice_id"]) for row in gone]
    _, ids = shuffled(dataset, parts_of(dataset, rows), dropped)
    assert Counter(ids) == Counter(row["slice_id"] for row in rows if row not in gone)


def test_a_bucket_of_which_all_is_dropped_makes_no_shard(dataset):
    rows = list(rows_of(5))
    dropped = [(bucket_of(row["order"], BUCKETS), row["slice_id"]) for row in rows]
    assert shuffled(dataset, parts_of(dataset, rows), dropped) == ([], [])


def test_large_parts_are_written_on_the_way(dataset, monkeypatch):
    monkeypatch.setattr("mricore.data.parts.MOST_BYTES", 20_000)
    rows = list(rows_of(40))
    parts = parts_of(dataset, rows, split=10)
    assert len(parts) > 3
    _, ids = shuffled(dataset, parts)
    assert Counter(ids) == Counter(row["slice_id"] for row in rows)


def test_a_bucket_that_was_collected_is_remembered(dataset):
    parts = parts_of(dataset, list(rows_of(40)))
    shards, _ = shuffled(dataset, parts)
    for part in parts:
        dataset.remove(part.path)
    assert shuffled(dataset, parts)[0] == shards
    assert all(file.path.endswith(".json") for file in place(dataset.joined(WORK)).files())


def test_new_shards_follow_those_that_are_there(dataset):
    shards, _ = shuffled(dataset, parts_of(dataset, list(rows_of(12))), first=7)
    assert shards[0].path.startswith("shards/000007-")


def test_shards_of_other_slices_have_other_names(dataset):
    """A number alone could stand for what another, unfinished curation wrote."""
    one, _ = shuffled(dataset, parts_of(dataset, list(rows_of(12)), "one"))
    other, _ = shuffled(dataset, parts_of(dataset, list(rows_of(12, seed=1)), "other"))
    assert not {shard.path for shard in one} & {shard.path for shard in other}


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_part_is_told_and_never_stored(dataset, damage):
    (part,) = parts_of(dataset, list(rows_of(12)))
    content = bytearray(dataset.read_bytes(part.path))
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 16
    dataset.write_bytes(part.path, bytes(content))
    with pytest.raises(UserError, match="unfinished work"):
        shuffled(dataset, [part])
