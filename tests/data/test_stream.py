"""Both sources feed the same slices in the same order, to any number of workers."""

from collections import Counter

import numpy as np
import pytest
from records import small_dataset

from mricore.config.schema import Data
from mricore.data.manifest import read_manifest
from mricore.data.readers import window_reader
from mricore.data.storage import place
from mricore.data.stream import PlannedSource

SLICES = 93


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    small_dataset(target, SLICES)
    return target


def source(dataset, rank=0, workers=1, **changes):
    settings = Data(**{"source": "in_process", "lanes": 4, "window_steps": 3, **changes})
    manifest = read_manifest(dataset)
    reader = window_reader(dataset, manifest, settings)
    return PlannedSource(manifest, settings, seed=3, batch_size=16, rank=rank, workers=workers, read=reader)


def global_batches(dataset, workers, epoch=0, first_step=0, **changes):
    """{step: ids by position in the global batch}."""
    batches = {}
    for rank in range(workers):
        for batch in source(dataset, rank, workers, **changes).batches(epoch, first_step):
            assert batch.counts[rank] == len(batch.slices.ids) == len(batch.slices.images)
            assert sum(batch.counts) == batch.global_size
            places = batches.setdefault(batch.step, {})
            places.update(zip(batch.positions.tolist(), batch.slices.ids, strict=True))
    return {step: [places[i] for i in range(len(places))] for step, places in batches.items()}


@pytest.mark.parametrize("workers", [2, 4])
def test_global_batches_do_not_depend_on_the_number_of_workers(dataset, workers):
    alone = global_batches(dataset, 1)
    assert Counter(name for ids in alone.values() for name in ids) == Counter(
        f"slice{i:06d}" for i in range(SLICES)
    )
    assert global_batches(dataset, workers) == alone


def test_two_workers_then_one_then_two_lose_and_repeat_nothing(dataset):
    whole = global_batches(dataset, 1)
    parts = {}
    for workers, first, last in ((2, 0, 2), (1, 2, 4), (2, 4, len(whole))):
        parts.update(
            {s: ids for s, ids in global_batches(dataset, workers, first_step=first).items() if s < last}
        )
    assert parts == whole


def test_images_are_the_normalised_pixels(dataset):
    batch = next(iter(source(dataset).batches(0, 0)))
    for image in batch.slices.images:
        assert image.dtype == np.uint16
        assert image.min() == 0
        assert image.max() == 65535


@pytest.mark.servers
def test_ray_data_feeds_the_same_slices_in_the_same_order(dataset, ray_cluster):
    for first_step in (0, 4):
        local = list(source(dataset, 1, 2).batches(1, first_step))
        remote = list(source(dataset, 1, 2, source="ray").batches(1, first_step))
        assert [batch.slices.ids for batch in remote] == [batch.slices.ids for batch in local]
        for one, other in zip(local, remote, strict=True):
            assert all(
                np.array_equal(a, b) for a, b in zip(one.slices.images, other.slices.images, strict=True)
            )


def test_the_normalisation_that_is_asked_for_is_used(dataset):
    """Volumes of the small dataset reach 5000, slices only 4095."""
    images = next(iter(source(dataset, normalization="volume").batches(0, 0))).slices.images
    assert max(int(image.max()) for image in images) < 4096 / 5000 * 65535 + 2
