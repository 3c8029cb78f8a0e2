"""Random datasets, numbers of workers, and kills: what is trained on is what an undisturbed run trains on."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from mricore.config.schema import Data
from mricore.data.batch import FULL, Slices
from mricore.data.stream import PlannedSource

CASES = 80


def names(plan, keys):
    """A reader that tells which slices it was asked for, and reads none."""
    for key in keys:
        window = plan.window(key)
        ids = [f"{group}:{row}" for group, row in zip(window.groups, window.rows, strict=True)]
        yield Slices([np.zeros((1, 1), np.uint16)] * len(ids), [FULL] * len(ids), ids)


class Case:
    """A random dataset and settings, and the numbers of workers that fit."""

    def __init__(self, seed, replacement=False):
        rng = self.rng = np.random.default_rng(seed)
        lanes = int(rng.choice([1, 2, 4, 6, 8, 12]))
        self.groups = rng.integers(1, 24, rng.integers(1, 40))
        self.groups[0] += lanes
        self.batch_size = int(rng.integers(1, 40))
        self.data = Data(lanes=lanes, window_steps=int(rng.integers(1, 8)), replacement=replacement)
        self.workers = [n for n in range(1, lanes + 1) if lanes % n == 0]

    def sources(self, workers):
        manifest = SimpleNamespace(row_groups=SimpleNamespace(rows=self.groups))
        return [
            PlannedSource(manifest, self.data, 5, self.batch_size, rank, workers, names)
            for rank in range(workers)
        ]

    def fed(self, workers, first=0, last=None, epoch=0):
        """{step: ids of the global batch by position}, checked to be whole."""
        found = {}
        for rank, source in enumerate(self.sources(workers)):
            steps = []
            for batch in source.batches(epoch, first):
                if batch.step == last:
                    break
                steps.append(batch.step)
                assert batch.counts[rank] == len(batch.slices.ids) > 0
                assert sum(batch.counts) == batch.global_size
                found.setdefault(batch.step, {}).update(
                    zip(batch.positions.tolist(), batch.slices.ids, strict=True)
                )
            assert steps == list(range(first, source.steps(epoch) if last is None else last))
        for places in found.values():
            assert sorted(places) == list(range(len(places)))
        return {step: [places[i] for i in range(len(places))] for step, places in found.items()}


@pytest.mark.parametrize("seed", range(CASES))
def test_kills_at_random_steps_and_other_numbers_of_workers_change_nothing(seed):
    """Each run goes on from the last checkpoint, which is older than what it had trained on."""
    case = Case(seed, replacement=seed % 4 == 3)
    whole = case.fed(1)
    total, trained, checkpoint = len(whole), {}, 0
    while checkpoint < total:
        killed = int(case.rng.integers(checkpoint + 1, total + 1))
        trained.update(case.fed(int(case.rng.choice(case.workers)), checkpoint, killed))
        checkpoint = total if killed == total else int(case.rng.integers(checkpoint, killed + 1))
        trained = {step: ids for step, ids in trained.items() if step < checkpoint}
    assert trained == whole


@pytest.mark.parametrize("seed", range(CASES))
def test_an_epoch_has_every_slice_once_whatever_the_number_of_workers(seed):
    case = Case(1000 + seed)
    once = Counter(f"{group}:{row}" for group, rows in enumerate(case.groups) for row in range(rows))
    for workers in case.workers:
        assert Counter(name for ids in case.fed(workers).values() for name in ids) == once


@pytest.mark.parametrize("seed", range(20))
def test_with_replacement_an_epoch_is_as_long_and_its_batches_are_as_large(seed):
    with_, without = (Case(2000 + seed, replacement) for replacement in (True, False))
    sizes = [[len(ids) for ids in case.fed(1).values()] for case in (with_, without)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("seed", range(20))
def test_no_batch_is_short(seed):
    """Slices that no whole batch is left for are spread over all batches."""
    case = Case(3000 + seed)
    sizes = [len(ids) for ids in case.fed(1).values()]
    assert max(sizes) - min(sizes) <= case.data.lanes
    assert max(sizes) <= max(case.batch_size, case.data.lanes) + case.data.lanes
