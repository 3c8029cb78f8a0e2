import dataclasses
import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from records import slice_record, small_dataset

from mricore.data import shards
from mricore.data.codec import decode
from mricore.data.manifest import MANIFEST, read_manifest
from mricore.data.shards import read_rows, write_shard
from mricore.data.storage import place
from mricore.errors import UserError


def same(one, other):
    for field in dataclasses.fields(one):
        np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def test_records_return_exactly_from_a_shard(tmp_path):
    rng = np.random.default_rng(1)
    signed = (rng.integers(-300, 300, (50, 60))).astype(np.int16)
    records = [slice_record(n, rng) for n in range(10)] + [slice_record(10, rng, pixels=signed, slope=1.5)]
    target = place(str(tmp_path))
    shard = write_shard(target, "shards/a.parquet", records, 4)
    assert shard.row_groups == (4, 4, 3)
    for expected, got in zip(
        [records[10], records[8]], read_rows(target, shard.path, 2, [2, 0]), strict=True
    ):
        same(expected, got)


def test_any_parquet_reader_finds_the_pixels(tmp_path):
    rng = np.random.default_rng(1)
    records = [slice_record(number, rng) for number in range(7)]
    shard = write_shard(place(str(tmp_path)), "shards/a.parquet", records, 3)
    rows = pq.read_table(tmp_path / shard.path).to_pylist()
    for record, row in zip(records, rows, strict=True):
        assert row["slice_id"] == record.slice_id
        decoded = decode(row["pixels"], row["rows"], row["columns"], row["dtype"])
        np.testing.assert_array_equal(decoded, record.pixels)


def test_row_groups_of_more_than_a_page_are_refused(tmp_path, monkeypatch):
    """Two pages would have a header between them, where readers look for pixels."""
    monkeypatch.setattr(shards, "_PAGE_BYTES", 1000)
    rng = np.random.default_rng(1)
    records = [slice_record(0, rng, pixels=np.ones((4, 4), np.uint16))] * 2000
    with pytest.raises(UserError, match="1 GiB"):
        write_shard(place(str(tmp_path)), "shards/a.parquet", records, 2000)
    assert not any(tmp_path.iterdir())


def test_the_same_records_give_the_same_digest(tmp_path):
    digests = [small_dataset(place(str(tmp_path / name)), 30).digest for name in "ab"]
    assert digests[0] == digests[1] != small_dataset(place(str(tmp_path / "c")), 30, seed=1).digest


@pytest.mark.faults
def test_a_truncated_shard_is_one_clear_line(tmp_path):
    manifest = small_dataset(place(str(tmp_path)), 20)
    path = tmp_path / manifest.shards[0].path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        read_rows(place(str(tmp_path)), manifest.shards[0].path, 0, [0])


@pytest.mark.faults
def test_a_flipped_bit_never_gives_other_pixels(tmp_path):
    manifest = small_dataset(place(str(tmp_path)), 12)
    (shard,) = manifest.shards
    file = tmp_path / shard.path
    content = file.read_bytes()

    def everything():
        return [
            record
            for group, rows in enumerate(shard.row_groups)
            for record in read_rows(place(str(tmp_path)), shard.path, group, range(rows))
        ]

    expected, told = everything(), 0
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        try:
            for one, other in zip(expected, everything(), strict=True):
                same(one, other)  # a bit that nothing reads, such as a name in the footer
        except UserError as error:
            assert "damaged" in str(error)
            told += 1
    assert told > 40


def test_a_manifest_returns_and_a_changed_one_is_refused(tmp_path):
    manifest = small_dataset(place(str(tmp_path)), 20)
    assert read_manifest(place(str(tmp_path))) == manifest
    file = tmp_path / MANIFEST
    file.write_text(file.read_text().replace(manifest.shards[0].sha256, "0" * 64))
    with pytest.raises(UserError, match="digest"):
        read_manifest(place(str(tmp_path)))
    file.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        read_manifest(place(str(tmp_path)))


def test_the_manifest_has_the_digest_of_each_file(tmp_path):
    for shard in small_dataset(place(str(tmp_path)), 30).shards:
        content = (tmp_path / shard.path).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
