"""Illness is found on the tiny recipe where it was planted, and nowhere else."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from small import small_loop

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import tiny
from mricore.data.curate import curate
from mricore.data.job import Job
from mricore.data.storage import Place
from mricore.data.work import in_process
from mricore.imaging.phantoms.collection import CollectionSpec, write_collection
from mricore.training.loop import IllError

EPOCHS = "train.epochs=13"
"""On the phantoms this is a little more than 200 steps."""
PLANTED = {
    "no centring": ("objective.centering=none",),
    "learning rate times ten": ("optimizer.lr=4e-2",),
    "temperature zero": ("objective.teacher_temperature=1e-6", "objective.teacher_temperature_start=1e-6"),
}
SEEDS = range(10)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """The dataset that the tiny recipe trains on by default."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_collection(folder / "dicom", CollectionSpec())
    source, target = Place(str(folder / "dicom")), Place(str(folder / "dataset"))
    curate(Job(source, target, tiny().curation, b"k" * 32, generated_phantoms=True), run=in_process)
    return target


def illness(dataset, assignments, steps):
    """(step, sign) of the illness that pauses a run of the tiny recipe, or None."""
    torch.set_num_threads(1)
    recipe = apply_overrides(tiny(), ["data.source=in_process", *assignments])
    loop = small_loop(dataset, recipe, stop_after=steps)
    try:
        for _ in loop.run():
            pass
    except IllError as error:
        return error.step, error.sign.name
    return None


def in_two_processes(dataset, runs):
    """``illness`` of each of ``runs``, (assignments, steps)."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(illness, [dataset] * len(runs), *zip(*runs, strict=True)))


@pytest.mark.slow
def test_planted_collapses_are_found_within_200_steps(phantoms):
    found = in_two_processes(phantoms, [((EPOCHS, *settings), 200) for settings in PLANTED.values()])
    assert None not in found
    (_, centring), (_, rate), (_, temperature) = found
    assert centring in ("alike", "certain")  # all answers become one prototype: both are true
    assert (rate, temperature) == ("violent", "certain")


@pytest.mark.slow
def test_ten_healthy_runs_raise_no_alarm(phantoms):
    found = in_two_processes(phantoms, [((f"seed={seed}",), None) for seed in SEEDS])
    assert found == [None] * len(SEEDS)
