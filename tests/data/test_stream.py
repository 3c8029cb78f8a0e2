"""Both sources feed the same slices in the same order, to any number of workers."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from records import dataset_of, slice_record, small_dataset

from mricore.augment.collate import pad_slices
from mricore.augment.crops import normalized
from mricore.config.schema import Data
from mricore.data.manifest import read_manifest
from mricore.data.readers import window_reader
from mricore.data.storage import place
from mricore.data.stream import PlannedSource
from mricore.imaging.intensity import histogram, normalize
from mricore.records import Intensity

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


@pytest.mark.numerics
@pytest.mark.parametrize("mode", ["slice", "volume", "percentile"])
def test_a_batch_becomes_the_numbers_that_evaluation_sees(tmp_path, mode):
    """Unsigned, signed, scaled, inverted and empty slices; the percentiles lie inside the range."""
    rng, target = np.random.default_rng(0), place(str(tmp_path))
    kinds = ((np.uint16, 0), (np.int16, -900))
    unsigned, signed = (rng.integers(low, 4096, (48, 40)).astype(kind) for kind, low in kinds)
    cases = list(product((unsigned, signed, signed * 0 + 7), ((1.0, 0.0), (2.5, -1024.0), (-1.5, 3000.0))))
    records = [
        slice_record(
            number,
            rng,
            pixels=pixels,
            slope=slope,
            intercept=intercept,
            slice_intensity=histogram(pixels).intensity(slope, intercept),
            volume_intensity=Intensity(-3000.0, 9000.0, 1.0, 2.0),
        )
        for number, (pixels, (slope, intercept)) in enumerate(cases)
    ]
    dataset_of(target, records, per_group=4)
    (batch,) = source(target, lanes=1, normalization=mode).batches(0, 0)
    images, sizes = pad_slices(batch.slices.images)
    seen = normalized(images[:, 0], torch.tensor(batch.slices.levels))
    for name, image, (rows, columns) in zip(batch.slices.ids, seen, sizes, strict=True):
        expected = normalize(records[int(name[-6:])], mode)
        np.testing.assert_allclose(image[:rows, :columns], expected, atol=2e-6, rtol=0)
        assert mode != "slice" or np.array_equal(image[:rows, :columns], expected)
    assert seen.dtype == torch.float32


@pytest.mark.servers
def test_ray_data_feeds_the_same_slices_in_the_same_order(dataset, ray_cluster):
    for first_step in (0, 4):
        local = list(source(dataset, 1, 2).batches(1, first_step))
        remote = list(source(dataset, 1, 2, source="ray").batches(1, first_step))
        assert [batch.slices.ids for batch in remote] == [batch.slices.ids for batch in local]
        for one, other in zip(local, remote, strict=True):
            assert one.slices.levels == other.slices.levels
            assert all(
                np.array_equal(a, b) for a, b in zip(one.slices.images, other.slices.images, strict=True)
            )
