"""One process and two gloo processes train alike on the same global batches."""

import pytest
import torch
import torch.distributed as dist
from groups import in_group
from records import small_dataset
from small import MAE, small_loop, small_recipe
from torch.nn.parallel import DistributedDataParallel

from mricore.data.storage import Place, place
from mricore.objective.communication import ProcessGroup
from mricore.training.initial import initial_state

SHORT = ("train.epochs=1", "objective.koleo_weight=0.1")
STAGES = 'augment.stages=[{"until":0.5,"global_size":24,"local_size":8}]'
RUNS = {
    "dinov2": SHORT,
    "drop path, two heads, centring, stages": (
        *SHORT,
        *("model.drop_path=0.4", "head.shared=false", "objective.centering=center", STAGES),
    ),
    "plain": (*SHORT, "model.kind=plain", "model.readout=class", "model.drop_path=0.2"),
    # patches of air have no variance to speak of: normalised, they would show every rounding of the views
    "mae": (
        "train.epochs=1",
        *MAE,
        "mae.normalize_targets=false",
    ),
}


def traced(loop):
    """{step: total loss and norm of the gradient}."""
    return {
        int(row["step"]): (row["loss/total"], row["gauge/gradient_norm"])
        for report in loop.run()
        for row in report.rows
    }


def worker(rank, dataset, settings, results):
    recipe = small_recipe(*settings)
    state = initial_state(recipe, torch.device("cpu"))
    forward = DistributedDataParallel(state.student)
    trace = traced(small_loop(Place(dataset), recipe, ProcessGroup(), state, forward))
    if rank == 0:
        torch.save(trace, results)


@pytest.mark.numerics
@pytest.mark.parametrize("run", RUNS)
def test_two_processes_give_the_losses_of_one(tmp_path, run):
    dataset = tmp_path / "dataset"
    small_dataset(place(str(dataset)), 75)
    torch.set_num_threads(1)
    alone = traced(small_loop(place(str(dataset)), small_recipe(*RUNS[run])))
    in_group(worker, 2, tmp_path, str(dataset), RUNS[run], str(tmp_path / "trace.pt"))
    together = torch.load(tmp_path / "trace.pt", weights_only=True)
    assert together.keys() == alone.keys()
    assert len(alone) == 5
    for step, (loss, norm) in alone.items():
        # rounding grows a little with every update
        assert together[step][0] == pytest.approx(loss, rel=2e-5), step
        # Adam would hide gradients that are too small by a factor
        assert together[step][1] == pytest.approx(norm, rel=1e-3), step


def gauged(rank, dataset, settings, results):
    together = dist.is_initialized()
    recipe = small_recipe(*settings)
    state = initial_state(recipe, torch.device("cpu"))
    forward = DistributedDataParallel(state.student) if together else None
    communicator = ProcessGroup() if together else None
    (report,) = small_loop(Place(dataset), recipe, communicator, state, forward, stop_after=1).run()
    if rank == 0:
        torch.save({name: value for name, value in report.rows[0].items() if "gauge/" in name}, results)


@pytest.mark.numerics
@pytest.mark.parametrize("run", ["dinov2", "mae"])
def test_two_processes_see_the_health_of_one(tmp_path, run):
    """What pauses a run must not depend on the number of workers."""
    dataset = tmp_path / "dataset"
    small_dataset(place(str(dataset)), 75)
    torch.set_num_threads(1)
    gauged(0, str(dataset), RUNS[run], str(tmp_path / "one.pt"))
    in_group(gauged, 2, tmp_path, str(dataset), RUNS[run], str(tmp_path / "two.pt"))
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert {"gauge/rank", "gauge/drift", "gauge/update_norm"} <= one.keys()
    assert two == pytest.approx(one, rel=1e-3)
