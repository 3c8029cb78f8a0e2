"""Measuring of real steps and of a real dataset's reading."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from records import small_dataset
from small import MAE, small_recipe

from mricore.config.recipes import vitb16_curriculum
from mricore.data.plan import EpochPlan
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.training.calibration import (
    CalibrationJob,
    bytes_of,
    calibrate,
    noise_images,
    phases_of,
    require_device,
    slowest,
)
from mricore.training.checkpoint import CheckpointInfo, save_checkpoint
from mricore.training.forecast import Line
from mricore.training.initial import initial_state
from mricore.training.reading import amplification, read_sample


def calibrated(recipe, shares, seconds=2.0):
    """In a process of its own, as memory of a process only grows."""
    job = CalibrationJob(recipe.model_dump(mode="json"), noise_images(8), shares, seconds)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(calibrate, job).result()


@pytest.fixture(scope="module")
def measured():
    return calibrated(small_recipe("train.batch_size=256", "augment.global_size=64"), (64.0, 256.0), 8.0)


def test_a_larger_share_takes_longer_and_more_memory(measured):
    (phase,) = measured.phases
    few, many = measured.sizes
    assert few <= 64
    assert 2 * few <= many <= 256
    assert phase.step.per_slice > 0
    assert phase.activations.per_slice > 2 * 64 * 64 * 4  # two crops in float32 at the very least
    assert measured.process_bytes > 50e6
    assert measured.copy_s < measured.build_s + 5


def test_the_state_is_that_of_a_checkpoint_and_what_lives_besides(tmp_path, measured):
    recipe = small_recipe()
    state = initial_state(recipe, torch.device("cpu"))
    found = bytes_of(state)
    assert found.weights == found.teacher
    assert found.moments == 2 * found.gradients
    for parameter in state.student.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    save_checkpoint(tmp_path, state, CheckpointInfo(1, 1, "", recipe))
    stored = (tmp_path / "tensors.safetensors").stat().st_size
    centers_and_names = 100_000
    assert 0 < stored - (found.weights + found.teacher + found.moments) < centers_and_names
    assert measured.state.anchor < measured.state.weights


def test_mae_has_no_teacher_and_weights_of_a_file_are_not_needed():
    found = calibrated(small_recipe(*MAE, "initial.layout=sam"), (4.0, 8.0))
    assert found.state.teacher == 0
    assert found.sizes[1] <= 8


def test_parts_of_a_run_with_other_crops_are_its_phases():
    found = phases_of(vitb16_curriculum())
    assert [(part.global_size, part.local_size) for part in found] == [(128, 64), (224, 96), (448, 96)]
    assert [part.share for part in found] == pytest.approx([0.4, 0.5, 0.1])
    assert [part.step for part in found] == [2000, 6500, 9500]


def test_the_slowest_of_several_processes_counts(measured):
    slow = replace(measured, phases=(replace(measured.phases[0], step=Line(100.0, 1.0)),))
    assert slowest([measured, slow, measured]) is slow


def test_no_cuda_where_the_recipe_needs_it_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device here"):
        require_device(small_recipe("train.gpu=true"), 1)
    require_device(small_recipe(), 1)


def test_row_groups_that_windows_cut_are_read_again():
    """One lane of 2 steps in windows of 1 step: both windows lie in the one row group of 8 rows."""
    plan = EpochPlan([8], seed=0, epoch=0, batch_size=4, lanes=1, window_steps=1)
    assert amplification(plan, np.array([8])) == 2
    plan = EpochPlan([4, 4], seed=0, epoch=0, batch_size=4, lanes=1, window_steps=1)
    assert amplification(plan, np.array([4, 4])) == 1


def test_reading_is_measured_through_the_readers_of_training(tmp_path):
    dataset = place(str(tmp_path))
    manifest = small_dataset(dataset, 75)
    found = read_sample(small_recipe(), dataset.uri, wanted=20, seconds=0.2)
    assert len(found.images) == 20
    assert {image.dtype for image in found.images} == {np.dtype(np.uint16)}
    assert found.reading.slices_per_s > 0
    assert found.reading.stored_bytes == sum(shard.bytes for shard in manifest.shards) / 75
    assert 2 * 40 * 40 <= found.reading.decoded_bytes <= 2 * 72 * 72
    assert found.reading.amplification >= 1


def test_of_a_small_dataset_all_slices_are_had(tmp_path):
    small_dataset(place(str(tmp_path)), 30)
    assert len(read_sample(small_recipe(), str(tmp_path), wanted=500, seconds=0.1).images) >= 30
