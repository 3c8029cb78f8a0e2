"""Frozen features: those of the encoder, computed once, whole after a kill, never read if damaged."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_tasks import small_task

from mricore.config.probes import Features
from mricore.config.schema import Model
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.evaluation import features as module
from mricore.evaluation.contender import Contender
from mricore.evaluation.features import block_means, features_of, frozen_features, grouped
from mricore.model.embedder import Embedder
from mricore.model.initialise import initialise

ROOT = Path(__file__).parents[2]
MODEL = Model(dim=24, depth=2, heads=2, global_blocks=(1,), native_grid=4, neck_dim=8, readout="mean")
HERE = Features(kind="dense", image_size=64, source="in_process", batch=2)
KINDS = {"pooled": (24,), "mean": (24,), "mean_neck": (8,), "dense": (4, 4, 24), "neck": (4, 4, 8)}


def contender(normalization="slice", digest="d" * 64, model=MODEL):
    embedder = Embedder(model, 32, normalization)
    with torch.no_grad():
        initialise(embedder, torch.Generator().manual_seed(0))
    return Contender("e", embedder.eval(), digest, "random")


def counted(monkeypatch):
    """The cases that features are computed of, as they are."""
    seen = []
    real = module.Parts.write
    monkeypatch.setattr(
        module.Parts, "write", lambda self, case, found: seen.append(case) or real(self, case, found)
    )
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_kept_features_are_those_of_the_encoder(tmp_path, kind):
    labelled, one = small_task(pool=2, development=0, test=1), contender()
    settings = HERE.model_copy(update={"kind": kind})
    parts = frozen_features(one, labelled, settings, Place(str(tmp_path)))
    for volume in labelled.volumes:
        embedder = one.embedder.at_size(64)
        dense, neck = embedder.dense(volume.image), np.moveaxis(embedder.neck(volume.image), 1, -1)
        expected = {
            "pooled": embedder(volume.image),
            "dense": dense,
            "neck": neck,
            "mean": dense.mean((1, 2)),
            "mean_neck": neck.mean((1, 2)),
        }[kind]
        found = parts.of(volume.case)
        assert found.dtype == np.float32
        assert found.shape == (4, *KINDS[kind])
        # grids are kept with 11 bits
        np.testing.assert_allclose(found, expected, rtol=1e-3 if settings.is_grid else 1e-5, atol=1e-5)


def test_nothing_is_computed_twice_and_damage_is_computed_again(tmp_path, monkeypatch):
    labelled, one, place = small_task(pool=3, development=1, test=1), contender(), Place(str(tmp_path))
    seen = counted(monkeypatch)
    some = frozen_features(one, labelled, HERE, place, cases=["case_001", "case_003"])
    assert seen == ["case_001", "case_003"]
    parts = frozen_features(one, labelled, HERE, place)
    assert seen == ["case_001", "case_003", "case_000", "case_002", "case_004"]
    assert parts == some
    whole = {case: parts.of(case) for case in seen}
    files = {case: Path(parts.place.joined(parts.path(case))) for case in seen}
    flipped = bytearray(files["case_000"].read_bytes())
    flipped[-5] ^= 1
    files["case_000"].write_bytes(flipped)
    files["case_001"].write_bytes(files["case_001"].read_bytes()[:-10])
    files["case_002"].write_bytes(b"")
    files["case_003"].unlink()
    with pytest.raises(UserError, match="changed meanwhile"):
        parts.of("case_000")
    seen.clear()
    again = frozen_features(one, labelled, HERE, place)
    assert seen == ["case_000", "case_001", "case_002", "case_003"]
    for case, features in whole.items():
        np.testing.assert_array_equal(again.of(case), features)


def test_what_decides_the_numbers_decides_the_folder(tmp_path):
    labelled, place = small_task(pool=1, development=0, test=1), Place(str(tmp_path))
    other = small_task(seed=1, pool=1, development=0, test=1)
    folders = [
        frozen_features(*arguments, place).folder
        for arguments in (
            (contender(), labelled, HERE),
            (contender(digest="e" * 64), labelled, HERE),
            (contender("percentile"), labelled, HERE),
            (contender(), other, HERE),
            (contender(), labelled, HERE.model_copy(update={"kind": "mean"})),
            (contender(), labelled, HERE.model_copy(update={"image_size": 32})),
        )
    ]
    assert len(set(folders)) == len(folders)
    same = HERE.model_copy(update={"batch": 3, "slices_per_task": 1})
    assert frozen_features(contender(), labelled, same, place).folder == folders[0]


def test_volumes_are_scaled_as_the_encoder_was_trained():
    image = small_task().volumes[0].image
    by_volume, by_slice = contender("volume").embedder, contender("slice").embedder
    scaled = (image - image.min()) / (image.max() - image.min())
    np.testing.assert_allclose(
        features_of(by_volume, "mean", image, 8), features_of(by_volume, "mean", scaled, 8), atol=1e-6
    )
    twice = image * np.array([1, 2, 3, 4])[:, None, None]
    np.testing.assert_allclose(
        features_of(by_slice, "mean", twice, 8), features_of(by_slice, "mean", image, 8), atol=1e-5
    )
    assert (
        np.abs(features_of(by_volume, "mean", twice, 8) - features_of(by_volume, "mean", image, 8)).max()
        > 1e-3
    )


def test_what_cannot_be_kept_or_computed_is_refused(tmp_path):
    labelled, place = small_task(pool=1, development=0, test=1), Place(str(tmp_path))
    with pytest.raises(UserError, match="no multiple of the patch 16 -> use 96"):
        frozen_features(contender(), labelled, HERE.model_copy(update={"image_size": 100}), place)
    plain = contender(model=Model(kind="plain", dim=24, depth=1, heads=2, native_grid=4, readout="mean"))
    with pytest.raises(UserError, match="no neck"):
        frozen_features(plain, labelled, HERE.model_copy(update={"kind": "neck"}), place)
    large = contender(digest="f" * 64)
    for value in (1e9, float("nan")):
        with torch.no_grad():
            large.embedder.encoder.patch_embed.proj.bias.fill_(value)
        with pytest.raises(UserError, match="exceed what float16 holds"):
            frozen_features(large, labelled, HERE, place)
    assert not list(tmp_path.rglob("*.features"))


@pytest.mark.numerics
def test_means_over_cells_are_exact_at_any_ratio():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(6, 10))
    np.testing.assert_allclose(block_means(image, 3, 5), image.reshape(3, 2, 5, 2).mean((1, 3)))
    fine = np.kron(image, np.ones((4, 3)))  # 24 x 30: cells of any whole division are those of the fine image
    np.testing.assert_allclose(block_means(image, 4, 6), fine.reshape(4, 6, 6, 5).mean((1, 3)))
    np.testing.assert_allclose(block_means(image, 12, 10), np.repeat(image, 2, axis=0))


def test_groups_are_of_whole_volumes_in_their_order():
    volumes = [(f"case_{index}", np.zeros((count, 2, 2))) for index, count in enumerate((3, 4, 9, 1))]
    assert [[case for case, _ in group] for group in grouped(volumes, 6)] == [
        ["case_0", "case_1"],
        ["case_2"],
        ["case_3"],
    ]


CHILD = """
import sys, time
sys.path[:0] = ["tests/evaluation", "tests/support"]
from pathlib import Path
from mricore.evaluation import features
from mricore.data.storage import Place
from small_tasks import small_task
from test_features import HERE, contender
real = features.features_of
def slowly(*arguments):
    time.sleep(0.3)
    return real(*arguments)
features.features_of = slowly
features.frozen_features(contender(), small_task(pool=8, development=0, test=4), HERE, Place(sys.argv[1]))
"""


@pytest.mark.faults
def test_a_killed_process_leaves_whole_parts_and_the_next_goes_on(tmp_path, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("case_*.features"))) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = {path.stem for path in tmp_path.rglob("case_*.features")}
    assert 3 <= len(there) < 12
    labelled = small_task(pool=8, development=0, test=4)
    seen = counted(monkeypatch)
    parts = frozen_features(contender(), labelled, HERE, Place(str(tmp_path)))
    assert set(seen) == {volume.case for volume in labelled.volumes} - there
    apart = frozen_features(contender(), labelled, HERE, Place(str(tmp_path / "apart")))
    for volume in labelled.volumes:
        np.testing.assert_array_equal(parts.of(volume.case), apart.of(volume.case))


@pytest.mark.slow
def test_ray_computes_the_same_and_tells_a_users_error(tmp_path, ray_cluster):
    labelled, one = small_task(pool=3, development=0, test=1), contender()
    there = HERE.model_copy(update={"source": "ray", "slices_per_task": 8, "cpus": 0.5})
    kept = frozen_features(one, labelled, there, Place(str(tmp_path / "ray")))
    here = frozen_features(one, labelled, HERE, Place(str(tmp_path / "here")))
    for volume in labelled.volumes:
        np.testing.assert_array_equal(kept.of(volume.case), here.of(volume.case))
    labelled.volumes[0].image[0, 0, 0] = np.nan
    with pytest.raises(UserError, match="NaN or infinity"):
        frozen_features(contender(digest="c" * 64), labelled, there, Place(str(tmp_path / "ray")))
