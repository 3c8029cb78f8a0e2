"""Embeddings of a dataset: those of the encoder, one row per slice in its place, whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from records import dataset_of, slice_record, small_dataset

from mricore.config.embedding import Embedding
from mricore.config.schema import Model
from mricore.data import shared_folder
from mricore.data.embedding_parts import Identity, is_whole, part_path
from mricore.data.embedding_place import claim, finish, missing_parts, read_embeddings
from mricore.data.sample import sample_slices
from mricore.data.shards import read_rows
from mricore.data.shared_folder import shared
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.embedding import embed
from mricore.evaluation.shard_embedder import ShardEmbedder, Work
from mricore.imaging.intensity import normalize
from mricore.model.embedder import SETTINGS, WEIGHTS, Embedder
from mricore.model.initialise import initialise

SAM = Model(dim=24, depth=2, heads=2, window=2, global_blocks=(1,), native_grid=4, neck_dim=8)
PLAIN = Model(kind="plain", dim=24, depth=2, heads=2, native_grid=4, readout="class")


def encoder(model=SAM, normalization="slice", seed=0):
    embedder = Embedder(model, 64, normalization)
    initialise(embedder, torch.Generator().manual_seed(seed))
    return embedder.requires_grad_(False).eval()


def work_of(folder, manifest, embedder, **changes):
    settings = Embedding(batch=4, readers=2)
    side = changes.get("image_size", embedder.image_size) // embedder.settings.patch
    identity = Identity(
        "folder",
        "w",
        manifest.digest,
        embedder.image_size,
        embedder.normalization,
        "float32",
        "float32",
        embedder.settings.dim,
        (side, side),
    )
    identity = replace(identity, **changes)
    return Work(place(str(folder / "data")), manifest.shards, place(str(folder / "out")), identity, settings)


def all_of(work, embedder, numbers=None):
    """Embed in this process."""
    return list(
        ShardEmbedder(embedder, work).embedded(range(len(work.shards)) if numbers is None else numbers)
    )


def read(work, manifest):
    claim(work.out, work.identity)
    finish(work.out, manifest, work.identity)
    return read_embeddings(work.out.uri, patches=bool(work.identity.grid))


def records_of(work):
    return [
        record
        for shard in work.shards
        for group, rows in enumerate(shard.row_groups)
        for record in read_rows(work.dataset, shard.path, group, range(rows))
    ]


def vectors(table):
    return np.stack(table["embedding"].to_numpy())


def patches(table):
    shape = json.loads(table.schema.field("patches").metadata[b"shape"])
    return np.stack([np.frombuffer(one.as_buffer(), "<f2").reshape(shape) for one in table["patches"]])


@pytest.mark.parametrize("model", [SAM, PLAIN], ids=["sam", "plain"])
def test_embeddings_are_those_of_the_encoder_on_the_same_slices(tmp_path, model):
    """Signed integers, a negative slope and an offset among them; windows are cut, as the grid is larger."""
    rng = np.random.default_rng(0)
    records = [slice_record(number, rng) for number in range(9)]
    signed = (records[3].pixels.astype(np.int32) - 2000).astype(np.int16)
    for number, pixels, slope, intercept in ((3, signed, 1.0, 0.0), (5, records[5].pixels, -0.5, 70.0)):
        real = slope * pixels.astype(float) + intercept
        intensity = replace(records[number].slice_intensity, minimum=real.min(), maximum=real.max())
        records[number] = replace(
            records[number], pixels=pixels, slope=slope, intercept=intercept, slice_intensity=intensity
        )
    manifest, ours = dataset_of(place(str(tmp_path / "data")), records, 5, 3), encoder(model)
    work = work_of(tmp_path, manifest, ours)
    assert [(one.shard, one.slices, one.error) for one in all_of(work, ours)] == [(0, 5, None), (1, 4, None)]
    table = read(work, manifest)
    images = [record.slope * record.pixels.astype(np.float32) + record.intercept for record in records]
    expected = np.concatenate([ours(image) for image in images])
    np.testing.assert_allclose(vectors(table), expected, atol=1e-5)
    dense = np.concatenate([ours.dense(image) for image in images])
    assert patches(table).shape == (9, 4, 4, 24)
    np.testing.assert_allclose(patches(table), dense, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("normalization", ["volume", "percentile"])
def test_slices_are_scaled_as_in_training(tmp_path, normalization):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 8), encoder(normalization=normalization)
    work = work_of(tmp_path, manifest, ours, grid=())
    all_of(work, ours)
    scaled_already = Embedder(ours.settings, ours.image_size, "volume")
    scaled_already.load_state_dict(ours.state_dict())
    expected = [scaled_already.eval()(normalize(one, normalization))[0] for one in records_of(work)]
    np.testing.assert_allclose(vectors(read(work, manifest)), expected, atol=1e-5)


def test_every_slice_is_there_once_with_its_categories_in_the_place_of_its_shard(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 50), encoder()
    work = work_of(tmp_path, manifest, ours, grid=())
    all_of(work, ours)
    table, records = read(work, manifest), records_of(work)
    for name in ("slice_id", "volume_id", "index", "location", "sequence", "plane", "vendor"):
        assert table[name].to_pylist() == [getattr(record, name) for record in records]
    sampled = sample_slices(work.dataset, manifest, 50, 0)
    assert sorted(table["slice_id"].to_pylist()) == sorted(one.slice_id for one in sampled)
    assert table.column_names == [
        *("slice_id", "volume_id", "index", "location", "sequence", "plane", "vendor", "embedding")
    ]
    for shard in manifest.shards:
        there = pq.ParquetFile(work.out.joined(part_path(shard)))
        groups = [there.metadata.row_group(k).num_rows for k in range(there.num_row_groups)]
        assert (Path(shard.path).name, tuple(groups)) == (Path(part_path(shard)).name, shard.row_groups)


def test_the_size_is_any_multiple_of_the_patch_and_the_grid_follows(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 3), encoder()
    work = work_of(tmp_path, manifest, ours, image_size=112)
    all_of(work, ours)
    table = read(work, manifest)
    assert patches(table).shape == (3, 7, 7, 24)
    expected = [ours.at_size(112)(one.pixels)[0] for one in records_of(work)]
    np.testing.assert_allclose(vectors(table), expected, atol=1e-5)


def test_float16_halves_the_vectors(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 3), encoder()
    work = work_of(tmp_path, manifest, ours, dtype="float16", grid=())
    all_of(work, ours)
    table = read(work, manifest)
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), 24)
    expected = [ours(one.pixels)[0] for one in records_of(work)]
    np.testing.assert_allclose(vectors(table).astype(np.float32), expected, rtol=1e-3, atol=1e-3)


def test_bfloat16_is_computed_where_it_is_asked_for(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 3), encoder()
    work = work_of(tmp_path, manifest, ours, precision="bfloat16", grid=())
    all_of(work, ours)
    error = np.abs(vectors(read(work, manifest)) - [ours(one.pixels)[0] for one in records_of(work)])
    assert 1e-4 < error.max() < 0.1


def test_what_is_not_finite_is_refused_and_leaves_nothing(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 3), encoder()
    work = work_of(tmp_path, manifest, ours)
    ours.encoder.pos_embed.fill_(float("inf"))
    with pytest.raises(UserError, match="not finite"):
        all_of(work, ours)
    assert work.out.names("parts") == []


@pytest.mark.faults
def test_a_damaged_shard_is_told_and_the_others_are_embedded(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 80), encoder()
    work = work_of(tmp_path, manifest, ours, grid=())
    flip(work.dataset, manifest.shards[1].path)
    Path(work.dataset.joined(manifest.shards[2].path)).unlink()
    answers = all_of(work, ours)
    assert [one.slices for one in answers] == [20, 0, 0, 20]
    assert "damaged" in answers[1].error.problem
    assert "nothing found" in answers[2].error.problem
    assert missing_parts(work.out, manifest.shards, work.identity) == [1, 2]
    assert len(work.out.names("parts")) == 2


@pytest.mark.faults
def test_a_dataset_that_is_gone_ends_the_work(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 40), encoder()
    work = work_of(tmp_path, manifest, ours)
    Path(tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="nothing found"):
        all_of(work, ours)


@pytest.mark.faults
def test_parts_that_are_cut_off_or_of_other_embeddings_are_missing(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 80), encoder()
    work = work_of(tmp_path, manifest, ours, grid=())
    all_of(work, ours)
    whole, cut, _, left = (Path(work.out.joined(part_path(shard))) for shard in manifest.shards)
    cut.write_bytes(cut.read_bytes()[:-9])
    stranger = replace(work, identity=replace(work.identity, weights="another"))
    all_of(stranger, ours, [2])
    left.unlink()
    rest = left.with_name(f".{left.name}.0123.tmp")
    rest.write_bytes(b"half")
    assert missing_parts(work.out, manifest.shards, work.identity) == [1, 2, 3]
    before = whole.stat().st_mtime_ns
    all_of(work, ours, [1, 2, 3])
    assert all(is_whole(work.out, shard, work.identity) for shard in manifest.shards)
    assert (whole.stat().st_mtime_ns, rest.exists()) == (before, False)


@pytest.mark.faults
def test_a_damaged_part_is_never_read(tmp_path):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 20), encoder()
    work = work_of(tmp_path, manifest, ours, grid=())
    all_of(work, ours)
    flip(work.out, part_path(manifest.shards[0]))
    with pytest.raises(UserError, match="is damaged"):
        read(work, manifest)


def flip(where, path):
    """One bit in the middle."""
    file = Path(where.joined(path))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)


def test_on_ray_they_are_the_same_bytes(tmp_path, ray_cluster, monkeypatch):
    """Two actors that load the encoder from the object store, in pieces smaller than the file."""
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 100), encoder()
    here = work_of(tmp_path, manifest, ours)
    all_of(here, ours)
    there = replace(
        here, out=place(str(tmp_path / "ray")), settings=here.settings.model_copy(update={"workers": 2})
    )
    flip(there.dataset, manifest.shards[3].path)
    ours.save(tmp_path)
    monkeypatch.setattr(shared_folder, "PIECE", 5000)
    answers = list(embed(there, shared(tmp_path, (SETTINGS, WEIGHTS)), range(5)))
    assert {one.shard: one.slices for one in answers} == {0: 20, 1: 20, 2: 20, 3: 0, 4: 20}
    for number in (0, 1, 2, 4):
        path = part_path(manifest.shards[number])
        assert here.out.read_bytes(path) == there.out.read_bytes(path)


def test_more_workers_than_there_is_room_for_are_refused(tmp_path, ray_cluster):
    manifest, ours = small_dataset(place(str(tmp_path / "data")), 20), encoder()
    work = work_of(tmp_path, manifest, ours)
    for changes, told in (({"workers": 64}, "64 CPUs"), ({"gpus": 1.0}, "1 GPUs")):
        with pytest.raises(UserError, match=told):
            next(embed(replace(work, settings=Embedding(**changes)), shared(tmp_path, ()), [0]))
