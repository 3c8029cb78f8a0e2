"""Workers that do not divide the lanes: what a run has when a machine is lost."""

from collections import Counter

import pytest
import torch
from groups import in_group
from records import small_dataset
from small import losses, small_loop, small_recipe

from mricore.data.manifest import read_manifest
from mricore.data.readers import window_reader
from mricore.data.storage import Place, place
from mricore.data.stream import PlannedSource
from mricore.errors import UserError
from mricore.objective.communication import ProcessGroup
from mricore.training.initial import initial_state
from mricore.training.parallel import wrapped


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    small_dataset(target, 75)
    return target


def fed(dataset, workers):
    """For each worker its batches of an epoch, from the middle of a window on, as in a run that goes on."""
    recipe, manifest = small_recipe(), read_manifest(dataset)
    reader = window_reader(dataset, manifest, recipe.data)
    sources = [
        PlannedSource(manifest, recipe.data, 0, recipe.train.batch_size, rank, workers, reader)
        for rank in range(workers)
    ]
    return [list(source.batches(epoch=1, first_step=1)) for source in sources]


def test_global_batches_are_the_same_for_any_number_of_workers_up_to_the_lanes(dataset):
    (alone,) = fed(dataset, 1)
    for workers in (2, 3, 4):
        batches = fed(dataset, workers)
        for step, whole in enumerate(alone):
            parts = [part[step] for part in batches]
            together = {
                int(position): name
                for part in parts
                for position, name in zip(part.positions, part.slices.ids, strict=True)
            }
            assert together == dict(zip(whole.positions.tolist(), whole.slices.ids, strict=True))
            assert Counter(name for part in parts for name in part.slices.ids) == Counter(whole.slices.ids)
            assert all(part.counts == tuple(len(one.slices.ids) for one in parts) for part in parts)


def test_more_workers_than_lanes_are_refused():
    with pytest.raises(UserError, match=r"data\.lanes 4 must be a multiple of train\.workers 8"):
        small_recipe("train.workers=8")


def worker(rank, dataset, settings, results):
    recipe = small_recipe(*settings)
    state = initial_state(recipe, torch.device("cpu"))
    forward = wrapped(state, recipe, 3)
    trace = losses(small_loop(Place(dataset), recipe, ProcessGroup(), state, forward))
    if rank == 0:
        torch.save(trace, results)


@pytest.mark.numerics
def test_three_workers_of_four_lanes_give_the_losses_of_one(tmp_path, dataset):
    settings = ("train.epochs=1",)
    in_group(worker, 3, tmp_path, dataset.uri, settings, str(tmp_path / "trace.pt"))
    together = torch.load(tmp_path / "trace.pt", weights_only=True)
    assert together == pytest.approx(losses(small_loop(dataset, small_recipe(*settings))), rel=2e-5)
