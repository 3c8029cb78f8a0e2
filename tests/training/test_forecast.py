"""What a run is foretold to take, calculated by hand from round numbers."""

from dataclasses import replace

import pytest
from small import small_recipe

from mricore.training.forecast import (
    Assumptions,
    Calibration,
    Line,
    Phase,
    Reading,
    StateBytes,
    Workload,
    forecast,
    line_through,
)

RECIPE = small_recipe(
    *("train.epochs=4", "train.batch_size=100", "data.lanes=4", "train.log_every=10", "data.window_steps=5"),
    *("train.checkpoint_seconds=30", "train.workers=2"),
)
WORKLOAD = Workload(RECIPE, slices=10_000, steps_per_epoch=100)
STATE = StateBytes(weights=100, gradients=80, moments=160, teacher=100, anchor=60)
PHASE = Phase(1.0, 32, 16, step=Line(0.5, 0.01), report_s=1.0, activations=Line(1000, 10))
MEASURED = Calibration(
    device="CPU",
    sizes=(25, 100),
    seconds=60,
    build_s=2,
    phases=(PHASE,),
    state=STATE,
    process_bytes=300,
    limit_bytes=10_000,
    checkpoint_bytes=360,
    copy_s=1.0,
    write_s=4.0,
    together=1,
    load=0,
)
READING = Reading(
    slices_per_s=1000, cpu_s_per_slice=0.002, stored_bytes=50, decoded_bytes=200, amplification=1.5
)
BELIEVED = Assumptions(bytes_per_s=80, epoch_start_s=1.0, start_up_s=20, ahead_bytes=7)


def told(workers=1, workload=WORKLOAD, measured=MEASURED, reading=READING, believed=BELIEVED):
    return forecast(workload, measured, reading, believed, workers)


def changed(*assignments, slices=10_000, steps=100):
    recipe = small_recipe(
        *("train.epochs=4", "train.batch_size=100", "data.lanes=4", "train.log_every=10"),
        *("data.window_steps=5", "train.checkpoint_seconds=30", "train.workers=2", *assignments),
    )
    return Workload(recipe, slices, steps)


def test_one_worker_takes_the_time_of_its_steps_of_the_starts_of_epochs_and_of_copies_for_checkpoints():
    found = told()
    step = 0.5 + 0.01 * 100 + 1.0 / 10  # the line at 100 slices, and a tenth of a report
    assert found.step_s == pytest.approx(step)
    steps = 4 * 100 * step
    starts = 1.0 + 5 * 100 / 1000  # a round is 5 steps of 100 slices; later epochs begin during the last one
    checkpoints = 20  # reports are 16 s apart, so one is due at each second one: 640 / 32
    assert found.checkpoints == checkpoints
    assert found.training_s == pytest.approx(steps + starts + checkpoints * 1.0)
    assert found.wall_s == pytest.approx(found.training_s + 20 + 2)
    assert found.hours == pytest.approx(found.wall_s / 3600)
    assert found.slices_per_s == pytest.approx(40_000 / found.training_s)
    assert found.written_bytes == checkpoints * 360
    assert found.communication_s == 0


def test_of_four_workers_each_has_a_quarter_of_the_batch_and_all_exchange_gradients():
    found = told(workers=4)
    assert found.slices_per_worker == 25
    assert found.communication_s == pytest.approx(2 * 3 / 4 * 80 / 80)
    assert found.step_s == pytest.approx(0.5 + 0.25 + 0.1 + 1.5)
    assert found.hours == pytest.approx(4 * found.wall_s / 3600)
    assert found.bound == "communication"


@pytest.mark.parametrize(
    ("teacher", "accumulate", "journeys"), [(100, 1, 4), (0, 1, 3), (100, 2, 8)], ids=str
)
def test_shares_of_weights_travel_for_each_pass_and_each_part(teacher, accumulate, journeys):
    workload = changed("train.parallel=fsdp", f"train.accumulate={accumulate}")
    measured = replace(MEASURED, state=replace(STATE, teacher=teacher))
    found = told(2, workload, measured)
    assert found.communication_s == pytest.approx(journeys / 2 * 80 / 80)


def test_memory_is_the_process_the_state_and_the_activations_of_the_share():
    alone, many = told().memory, told(workers=4).memory
    assert alone.total == 300 + STATE.total + 1000 + 10 * 100
    assert many.total == 300 + STATE.total + 80 + 1000 + 10 * 25  # with the buckets of DDP


def test_shares_of_weights_divide_the_state():
    found = told(4, changed("train.parallel=fsdp")).memory
    assert found.total == 300 + STATE.total / 4 + 1000 + 10 * 25
    assert found.buckets == 0


def test_on_a_gpu_the_process_is_host_memory_alone():
    found = told(workload=changed("train.gpu=true"))
    assert found.memory.total == STATE.total + 1000 + 10 * 100
    assert found.host_bytes == 2 * 5 * 100 * 200 + 300 + 360  # rounds of two epochs, process, copy


def test_a_later_epoch_waits_for_what_its_start_takes_longer_than_the_last_round():
    slow = replace(BELIEVED, epoch_start_s=9.0)  # 9.5 s with the first round; the last one takes 5 * 1.6 s
    assert told(believed=slow).training_s == pytest.approx(told().training_s + 8.0 + 3 * 1.5)


def test_host_memory_on_a_cpu_holds_everything_but_no_more_slices_than_an_epoch():
    two_rounds = 2 * 5 * 100 * 200
    assert told().host_bytes == told().memory.total + two_rounds + 360
    assert told(workload=changed("train.epochs=1")).host_bytes == told().host_bytes - two_rounds / 2 + 7
    much = replace(BELIEVED, ahead_bytes=1e12)
    assert told(believed=much).host_bytes == told().memory.total + 10_000 * 200 + 360


def test_storage_is_read_once_for_each_epoch_and_as_often_as_row_groups_are_cut():
    assert told().read_bytes == 10_000 * 4 * 50 * 1.5
    assert told(reading=None).read_bytes is None


def test_slow_readers_bind_the_run():
    slow = replace(READING, slices_per_s=40)
    found = told(reading=slow)
    assert found.bound == "data"
    assert found.data_s == found.step_s == 100 / 40


def test_readers_without_a_core_of_their_own_lengthen_each_step():
    crowded = replace(BELIEVED, reads_beside=False)
    assert told(believed=crowded).step_s == pytest.approx(told().step_s + 100 * 0.002)


def test_what_is_larger_than_the_device_does_not_fit():
    assert told(measured=replace(MEASURED, limit_bytes=2000)).bound == "memory"
    assert told().bound == "step"


def test_phases_of_other_crop_sizes_count_by_their_share_and_the_largest_needs_the_memory():
    large = replace(PHASE, share=0.25, step=Line(1.0, 0.03), activations=Line(1000, 40))
    found = told(measured=replace(MEASURED, phases=(replace(PHASE, share=0.75), large)))
    assert found.step_s == pytest.approx(0.75 * 1.6 + 0.25 * 4.1)
    assert found.memory.activations == 1000 + 40 * 100


def test_a_checkpoint_that_is_copied_or_written_slowly_is_a_rare_one():
    assert told(measured=replace(MEASURED, copy_s=5.0)).checkpoints == 6  # 5 s in 5%: each 7 x 16 s of 640
    assert told(measured=replace(MEASURED, write_s=150.0)).checkpoints == 4  # one after another: 10 x 16 s


def test_a_short_run_writes_one_checkpoint():
    assert told(workload=changed(slices=100, steps=1)).checkpoints == 1


def test_cpu_hours_count_all_cores_of_a_worker():
    found = told(2, changed("train.threads_per_worker=8"))
    assert found.hours == pytest.approx(2 * 8 * found.wall_s / 3600)


def test_batches_of_a_small_dataset_are_not_full():
    found = told(workload=changed(slices=9_000, steps=100))
    assert found.slices_per_worker == 90


@pytest.mark.parametrize(
    ("few", "many", "line"),
    [
        ((2, 7.0), (4, 11.0), Line(3.0, 2.0)),
        ((2, 3.0), (4, 10.0), Line(0.0, 2.5)),  # more than proportional: through the origin
        ((2, 9.0), (4, 8.0), Line(8.0, 0.0)),  # noise: constant
        ((1, 5.0), (1, 5.0), Line(0.0, 5.0)),  # one size
    ],
)
def test_a_line_through_two_sizes(few, many, line):
    assert line_through(few, many) == line
    assert line.at(many[0]) == many[1]
