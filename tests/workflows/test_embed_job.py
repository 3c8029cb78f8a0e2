"""The job that embeds an archive: what it writes, resumes, refuses and tells."""

import json
import re
import subprocess
import sys
import time
from contextlib import nullcontext

import boto3
import mlflow
import numpy as np
import pytest
import torch
from jobs_apart import ROOT, all_files, environment, objects, output_of
from planted import plant_identifiers, planted_in
from processes import kill_with_all_below
from records import small_dataset
from servers import s3_server
from small_data import small_collection

import mricore
from jobs.embed import main
from mricore.config.schema import Model
from mricore.data.manifest import read_manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import place
from mricore.evaluation.shard_embedder import ShardEmbedder
from mricore.model.embedder import Embedder
from mricore.model.initialise import initialise
from mricore.workflows import embed as workflow
from mricore.workflows.entry import run

MODEL = Model(dim=24, depth=2, heads=2, window=3, global_blocks=(1,), native_grid=4, neck_dim=8)


def encoder(folder, seed=0):
    embedder = Embedder(MODEL, 64, "slice")
    initialise(embedder, torch.Generator().manual_seed(seed))
    folder.mkdir(parents=True, exist_ok=True)
    embedder.requires_grad_(False).eval().save(folder)
    return folder


@pytest.fixture
def without_ray(monkeypatch):
    """Shards are embedded in this process; the numbers of those that were."""
    seen = []

    def embed(work, folder, missing):
        seen.extend(missing)
        return ShardEmbedder(Embedder.load(folder), work).embedded(missing)

    monkeypatch.setattr(workflow, "embed", embed)
    monkeypatch.setattr(workflow, "shared", lambda folder, names: folder)
    monkeypatch.setattr(workflow, "ray_session", nullcontext)
    return seen


def job(folder, *more, model=None, data=None, out="out"):
    model, data = model or folder / "encoder", data or folder / "data"
    out = out if str(out).startswith("s3://") else folder / out
    return ["--model", str(model), "--data", str(data), "--out", str(out), *map(str, more)]


def test_the_embeddings_are_read_back_as_a_table_that_joins_with_the_shards(tmp_path, without_ray, capsys):
    manifest = small_dataset(place(str(tmp_path / "data")), 50)
    encoder(tmp_path / "encoder")
    assert run(main, job(tmp_path, "--size", 96, "--dense", "--batch", 5)) == 0
    told = capsys.readouterr().out
    assert "embedded 50 slices" in told
    assert "waiting for slices" in told
    table = mricore.read_embeddings(str(tmp_path / "out"), patches=True)
    assert (table.num_rows, table.schema.field("patches").metadata[b"shape"]) == (50, b"[6, 6, 24]")
    document = json.loads(table.schema.metadata[b"mricore"])
    asked = {name: document[name] for name in ("model", "dataset", "image_size", "normalization")}
    assert asked == {
        "model": "folder",
        "dataset": manifest.digest,
        "image_size": 96,
        "normalization": "slice",
    }
    assert document["counts"] == {"slices": 50, "parts": 3}
    ours = mricore.load(str(tmp_path / "encoder")).at_size(96)
    rows = {row["slice_id"]: row for row in table.select(["slice_id", "embedding"]).to_pylist()}
    for record in sample_slices(place(str(tmp_path / "data")), manifest, 5, 0):
        np.testing.assert_allclose(rows[record.slice_id]["embedding"], ours(record.pixels)[0], atol=1e-5)


def test_the_code_of_the_docs_reads_and_joins(tmp_path, without_ray):
    manifest = small_dataset(place(str(tmp_path / "data")), 50)
    encoder(tmp_path / "encoder")
    assert run(main, job(tmp_path, "--dense")) == 0
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/embeddings.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    names = {"EMBEDDINGS": str(tmp_path / "out"), "DATASET": str(tmp_path / "data"), "NAME": "000000"}
    found = {}
    for block in blocks:
        for name, value in names.items():
            block = block.replace(name, value)
        exec(block, found)  # noqa: S102 - our own words
    assert (found["vectors"].shape, found["knees"].shape, found["patches"].shape) == (
        (50, 24),
        (32, 24),
        (2, 4, 4, 24),
    )
    records = {one.slice_id: one for one in sample_slices(place(str(tmp_path / "data")), manifest, 50, 0)}
    patients = [records[name].patient_id for name in found["table"]["slice_id"].to_pylist()]
    assert found["patients"].tolist() == patients


@pytest.mark.faults
def test_the_same_command_embeds_what_is_missing_alone(tmp_path, without_ray, capsys):
    small_dataset(place(str(tmp_path / "data")), 80)
    encoder(tmp_path / "encoder")
    shard = tmp_path / "data/shards/000002.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[:5000])
    assert run(main, job(tmp_path)) == 2
    told = capsys.readouterr()
    assert "left out: shard shards/000002.parquet" in told.out
    assert told.err.count("\n") == 2
    assert "1 of 4 shards" in told.err
    assert not (tmp_path / "out/manifest.json").exists()
    assert run(lambda _: mricore.read_embeddings(str(tmp_path / "out"))) == 2
    shard.write_bytes(content)
    del without_ray[:]
    assert run(main, job(tmp_path)) == 0
    assert without_ray == [2]
    assert "3 of 4 shards are embedded already" in capsys.readouterr().out
    assert run(main, job(tmp_path)) == 0
    assert (without_ray, "nothing to do" in capsys.readouterr().out) == ([2], True)


def test_a_place_with_other_embeddings_is_refused_in_one_line(tmp_path, without_ray, capsys):
    small_dataset(place(str(tmp_path / "data")), 20)
    small_dataset(place(str(tmp_path / "more")), 21)
    encoder(tmp_path / "encoder")
    encoder(tmp_path / "other", seed=1)
    assert run(main, job(tmp_path)) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    for arguments, told in (
        (job(tmp_path, model=tmp_path / "other"), "another encoder"),
        (job(tmp_path, data=tmp_path / "more"), "another dataset"),
        (job(tmp_path, "--size", 32), "another --size"),
        (job(tmp_path, "--dense"), "other patches, or of none"),
        (job(tmp_path, out="data"), "something else"),
        (job(tmp_path, "--size", 70), "no multiple of the patch"),
        (job(tmp_path, "--set", "embed.precision=bfloat16"), "bfloat16 is for GPUs"),
        (job(tmp_path, "--set", "embed.shards=2"), "unknown setting"),
        (job(tmp_path, "--gpus", "nan"), "embed.gpus"),
        (job(tmp_path, model=tmp_path), "holds no mricore encoder"),
        (job(tmp_path, data=tmp_path / "nowhere"), "nothing found"),
    ):
        capsys.readouterr()
        assert run(main, arguments) == 2
        error = capsys.readouterr().err
        assert (told in error, error.count("\n")) == (True, 2), error
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before


def test_an_alias_is_resolved_to_a_version_once(tmp_path, without_ray, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_dataset(place(str(tmp_path / "data")), 20)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = mlflow.MlflowClient(uri, uri)
    client.create_registered_model("mri-core")
    for seed in (0, 1):  # as publishing lays out a version
        encoder(tmp_path / f"made{seed}/artifacts/encoder", seed)
        version = client.create_model_version("mri-core", str(tmp_path / f"made{seed}"))
        client.set_registered_model_alias("mri-core", "champion", version.version)
    assert run(main, job(tmp_path, model="models:/mri-core@champion")) == 0
    assert "models:/mri-core@champion, now models:/mri-core/2" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/manifest.json").read_text())["model"] == "models:/mri-core/2"
    assert run(main, job(tmp_path, model="models:/mri-core/1")) == 2
    assert "another encoder" in capsys.readouterr().err


@pytest.mark.faults
@pytest.mark.servers
@pytest.mark.slow
def test_a_job_that_is_killed_in_a_bucket_embeds_the_rest_and_nothing_twice(short_folder, monkeypatch):
    """A real process on a real Ray, killed with -9 as soon as its first part is there.

    At 640 px a part takes half a second or more: long, beside the first look into the bucket.
    """
    encoder(short_folder / "encoder")
    settings = environment(short_folder, OMP_NUM_THREADS="1")
    with s3_server(short_folder / "s3") as s3:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="mri")
        manifest = small_dataset(place("s3://mri/data"), 160)
        command = [sys.executable, "-u", str(ROOT / "jobs/embed.py")]
        command += job(short_folder, "--size", 640, "--workers", 1, data="s3://mri/data", out="s3://mri/out")
        killed(command, short_folder, {**settings, **s3}, place("s3://mri/out"))
        first = {name: one for name, one in objects("mri").items() if name.startswith("out/parts")}
        assert 0 < len(first) < 8
        assert not place("s3://mri/out").exists("manifest.json")
        told = output_of(command, short_folder, {**settings, **s3}).decode()
        assert "of 8 shards are embedded already" in told
        assert f"embedded {160 - 20 * int(told.split(' of 8 shards')[0].split()[-1])} slices" in told
        table = mricore.read_embeddings("s3://mri/out")
        last = objects("mri")
    assert {name: last[name] for name in first} == first
    ids = table["slice_id"].to_pylist()
    assert len(ids) == len(set(ids)) == manifest.counts["slices"] == 160


def killed(command, folder, settings, out):
    """Start a job, and kill it and its Ray with -9 when a part is there."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while not out.names("parts") and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    assert process.poll() is None
    kill_with_all_below(process)


@pytest.mark.slow
def test_raw_dicom_is_curated_first_and_nothing_tells_who_it_was(short_folder):
    """Real parts: curation and embedding on Ray, in a process of its own; all that it wrote is read."""
    small_collection(short_folder / "clean")
    plant_identifiers(short_folder / "clean", short_folder / "planted")
    encoder(short_folder / "encoder")
    command = [sys.executable, "-u", str(ROOT / "jobs/embed.py"), "--dense"]
    command += job(short_folder, data=short_folder / "planted")
    told = output_of(command, short_folder, environment(short_folder, OMP_NUM_THREADS="1"))
    (dataset,) = (short_folder / "out/datasets").iterdir()
    table = mricore.read_embeddings(str(short_folder / "out"), patches=True)
    manifest = read_manifest(place(str(dataset)))
    assert len(set(table["slice_id"].to_pylist())) == table.num_rows == manifest.counts["slices"] > 0
    assert set(table["location"].to_pylist()) == set(manifest.distributions["location"])
    assert planted_in(told) == []
    written = all_files(short_folder / "out", short_folder / "ray")
    assert {str(path) for path in written if planted_in(path.read_bytes())} == set()
