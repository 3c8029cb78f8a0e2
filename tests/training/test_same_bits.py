"""The same seed gives the same bits on CPUs: in other processes, in a group, and after a checkpoint."""

import pytest
import torch
import torch.distributed as dist
from records import small_dataset
from small import small_loop, small_recipe
from steps import CPU, in_processes

from mricore.data.storage import Place, place
from mricore.objective.communication import Alone, ProcessGroup
from mricore.training.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint, snapshot
from mricore.training.initial import initial_state
from mricore.training.parallel import wrapped

SETTINGS = ("model.drop_path=0.3", "objective.koleo_weight=0.1", "data.lanes=6", "train.batch_size=18")
WORKERS = 3
"""Of two workers a sum is the same in any order."""


def run(dataset, communicator, folder=None, stop_after=4):
    """Metrics of the steps up to ``stop_after``, and the loop; begins with a checkpoint if it is given."""
    recipe = small_recipe(*SETTINGS, "train.accumulate=2")
    state = initial_state(recipe, CPU)
    forward = wrapped(state, recipe, communicator.world_size)
    if folder is not None:
        load_checkpoint(folder, state)
    loop = small_loop(Place(dataset), recipe, communicator, state, forward, stop_after=stop_after)
    rows = [row for report in loop.run() for row in report.rows]
    told = ("loss/", "gauge/")
    return [{name: row[name] for name in row if name.startswith(told)} for row in rows], loop


def straight(dataset, communicator):
    rows, loop = run(dataset, communicator)
    return rows, snapshot(loop.state).tensors


def resumed(dataset, communicator, folder):
    """The same with a checkpoint after two steps, from which others go on."""
    rows, first = run(dataset, communicator, stop_after=2)
    if communicator.rank == 0:
        save_checkpoint(folder, first.state, CheckpointInfo(2, first.steps_per_epoch, "digest", first.recipe))
    if communicator.world_size > 1:
        dist.barrier()
    more, loop = run(dataset, communicator, folder)
    return rows + more, snapshot(loop.state).tensors


def group(dataset, folder):
    """A group's run, an interrupted one, and what each worker finds by itself."""
    (folder / "group").mkdir(exist_ok=True)
    torch.save(straight(dataset, Alone()), folder / f"alone-{dist.get_rank()}.pt")
    dist.barrier()
    together = ProcessGroup()
    return straight(dataset, together), resumed(dataset, together, folder / "group")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Runs of two starts of the same group."""
    dataset = tmp_path_factory.mktemp("dataset")
    small_dataset(place(str(dataset)), 75)
    starts = []
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp(name)
        starts.append((in_processes(WORKERS, folder / "run", group, str(dataset), folder), folder))
    return starts


def assert_same_bits(one, other):
    (rows, tensors), (other_rows, other_tensors) = one, other
    assert len(rows) == 4
    assert rows == other_rows
    assert tensors.keys() == other_tensors.keys()
    assert all(torch.equal(tensors[name], other_tensors[name]) for name in tensors)


@pytest.mark.numerics
def test_processes_by_themselves(found):
    (_, folder), (_, other) = found
    files = [folder / "alone-0.pt", folder / "alone-1.pt", other / "alone-0.pt"]
    first, *others = (torch.load(file, weights_only=True) for file in files)
    for one in others:
        assert_same_bits(one, first)


@pytest.mark.numerics
def test_two_starts_of_a_group(found):
    assert_same_bits(found[0][0][0], found[1][0][0])


@pytest.mark.numerics
def test_a_group_that_goes_on_from_a_checkpoint(found):
    for (whole, interrupted), _ in found:
        assert_same_bits(interrupted, whole)
