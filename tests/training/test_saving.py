"""When checkpoints are written, which of them count after faults, and how a run ends."""

import json
import os
import pickle
import signal
import time

import pytest
import torch
from pyarrow import fs
from ray.train import WorkerGroupError
from records import small_dataset
from small import small_loop, small_recipe

from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.training.best import Best
from mricore.training.checkpoint import STATE, TENSORS, CheckpointInfo, save_checkpoint
from mricore.training.failures import EndsAtOnce, cause_of, interruptible
from mricore.training.initial import initial_state
from mricore.training.interval import SaveInterval
from mricore.training.patience import patient
from mricore.training.stored import LIST, WITHOUT_LIST, Stored, is_whole, new_name
from mricore.training.validation import Validation


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    small_dataset(target, 75)
    return target


@pytest.fixture
def run(tmp_path):
    """A run's folder with three checkpoints that its list names, and the remains of a fourth."""
    folder = tmp_path / "run"
    state = initial_state(small_recipe(), torch.device("cpu"))
    names = [new_name() for _ in range(4)]
    for name in names:
        (folder / name).mkdir(parents=True)
        save_checkpoint(folder / name, state, CheckpointInfo(1, 5, "digest", small_recipe()))
    (folder / names[3] / STATE).unlink()
    listed = {"checkpoint_results": [{"checkpoint_dir_name": name} for name in names[:3]]}
    (folder / LIST).write_text(json.dumps(listed))
    return folder, names


def stored(folder):
    return Stored(fs.LocalFileSystem(), str(folder))


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def test_names_of_checkpoints_are_in_order_and_never_the_same():
    names = [new_name() for _ in range(100)]
    assert names == sorted(set(names))


def test_what_a_kill_left_is_removed_and_does_not_count(run):
    folder, names = run
    assert stored(folder).mended() == names[2::-1]
    assert not (folder / names[3]).exists()
    assert (folder / LIST).exists()


@pytest.mark.faults
def test_a_damaged_checkpoint_is_told_once_and_kept(run, caplog):
    folder, names = run
    cut(folder / names[2] / TENSORS)
    assert stored(folder).mended() == names[2::-1]
    assert caplog.messages == [f"checkpoint {names[2]} is damaged: the run goes on from {names[1]}"]


@pytest.mark.faults
@pytest.mark.parametrize("listed", ["all", "cut short"])
def test_without_a_whole_checkpoint_the_user_is_told_what_to_do(run, listed):
    folder, names = run
    for name in names[:3]:
        cut(folder / name / TENSORS)
    if listed == "cut short":
        cut(folder / LIST)
    with pytest.raises(UserError, match="--fresh"):
        stored(folder).mended()
    assert (folder / names[0]).exists()


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["cut short", "names what is gone"])
def test_a_list_that_ray_train_cannot_begin_with_is_removed(run, damage):
    folder, names = run
    if damage == "cut short":
        cut(folder / LIST)
        expected = names[::-1]
    else:
        (folder / names[2] / STATE).unlink()
        (folder / names[2] / TENSORS).unlink()
        (folder / names[2]).rmdir()
        expected = names[1::-1]
    assert stored(folder).mended() == expected
    assert not (folder / LIST).exists()


@pytest.mark.faults
def test_what_counted_without_a_list_counts_until_there_is_another(run):
    """The run may be killed again before Ray Train has written its next list."""
    folder, names = run
    text = (folder / LIST).read_text()
    cut(folder / LIST)
    assert stored(folder).mended() == stored(folder).mended() == names[::-1]
    assert all((folder / name / TENSORS).exists() for name in names)
    (folder / LIST).write_text(text)
    assert stored(folder).mended() == names[2::-1]
    assert not (folder / WITHOUT_LIST).exists()


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(tmp_path, run):
    folder, names = run
    (folder / LIST).unlink()
    assert stored(folder).mended() == []
    assert not any((folder / name).exists() for name in names)
    assert stored(tmp_path / "no such run").mended() == []


def test_files_that_are_no_checkpoint_are_not_whole(tmp_path):
    assert not is_whole(tmp_path)
    (tmp_path / STATE).write_text("{}")
    assert not is_whole(tmp_path)


def test_checkpoints_become_rarer_where_saving_them_takes_long():
    interval = SaveInterval(least=0.2, share=0.1)
    assert not interval.is_over()
    time.sleep(0.25)
    assert interval.is_over()
    interval.saved(0.001)
    assert interval.seconds == 0.2
    assert not interval.is_over()
    interval.saved(5.0)
    assert interval.seconds == pytest.approx(50)
    interval.end()
    assert interval.is_over()


def test_the_loop_measures_what_saving_costs(dataset):
    recipe = small_recipe("train.checkpoint_seconds=1e-9", "train.checkpoint_share=1e-4")
    saved = []
    for report in small_loop(dataset, recipe).run():
        time.sleep(0.2 if report.save else 0)
        saved.append(report.save)
    # 0.2 s may be a ten-thousandth of the time: the next one is not due before the end, which always saves
    assert saved == [True] + [False] * 8 + [True]


def test_no_checkpoint_is_taken_while_the_one_before_is_on_its_way(dataset):
    loop = small_loop(dataset, small_recipe("train.checkpoint_seconds=1e-9"), may_save=lambda: False)
    assert [report.save for report in loop.run()] == [False] * 9 + [True]


def test_rows_of_several_sums_make_one_report(dataset):
    loop = small_loop(dataset, small_recipe("train.checkpoint_seconds=1000"), report_seconds=1000.0)
    reports = list(loop.run())
    assert [[row["step"] for row in report.rows] for report in reports] == [list(range(1, 11))]
    assert all("loss/total" in row for row in reports[0].rows)
    assert reports[0].rows[-1]["time/step_s"] > 0


def test_the_encoder_is_judged_at_its_steps_and_its_checkpoint_kept(dataset):
    recipe = small_recipe("train.validate_steps=4", "train.keep_best=1", "train.checkpoint_seconds=1000")
    loop = small_loop(dataset, recipe, judge=lambda: {"validation/mean": 0.5}, report_seconds=1000.0)
    reports = list(loop.run())
    assert [(report.step, report.save) for report in reports] == [(4, True), (8, True), (10, True)]
    assert ["validation/mean" in report.rows[-1] for report in reports] == [True, True, True]


def test_validation_judges_the_teacher_and_does_not_change_it(dataset):
    recipe = small_recipe()
    loop = small_loop(dataset, recipe)
    validation = Validation(recipe, dataset, loop.source.manifest)
    before = {name: tensor.clone() for name, tensor in loop.state.teacher.state_dict().items()}
    seen = validation.of_state(loop.state, rank=0, workers=2)
    assert validation.of_state(loop.state, rank=1, workers=2) == {}
    assert 0 <= seen["validation/location"] <= 1
    assert seen["validation/mean"] == seen["validation/location"]  # the only task with several classes
    assert all(torch.equal(tensor, before[name]) for name, tensor in loop.state.teacher.state_dict().items())
    with torch.no_grad():
        for parameter in loop.state.teacher.parameters():
            parameter.zero_()
    assert validation.of_state(loop.state, 0, 1) != seen


def test_the_best_checkpoints_are_kept_in_order(tmp_path):
    best = Best(Place(str(tmp_path / "run")), 2)
    files = tmp_path / "files"
    files.mkdir()
    assert best.kept() == []
    (tmp_path / "run" / "best_left_by_a_kill").mkdir(parents=True)
    for number, score in enumerate([0.2, 0.5, 0.3, 0.1, 0.5]):
        (files / STATE).write_text(str(number))
        best.offer(files, f"checkpoint_{number}", score)
    assert [(one.name, one.score) for one in best.kept()] == [("best_1", 0.5), ("best_4", 0.5)]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"best.json", "best_1", "best_4"}
    assert (tmp_path / "run" / "best_4" / STATE).read_text() == "4"


def test_a_patient_client_stays_patient_in_another_process():
    client = fs.S3FileSystem(endpoint_override="http://127.0.0.1:9", anonymous=True)
    made = patient(client)
    assert type(made) is not fs.S3FileSystem
    assert type(pickle.loads(pickle.dumps(made))) is type(made)  # noqa: S301
    assert made == client
    local = fs.LocalFileSystem()
    assert patient(local) is local


def failed(error):
    """What Ray Train raises if that ended a worker."""
    cause = RuntimeError("in a task")
    cause.cause = error
    return WorkerGroupError("a worker failed", {1: cause})


def test_what_no_restart_mends_ends_the_run_at_once():
    mistake = UserError("a shard is damaged", "restore it")
    with pytest.raises(UserError, match="a shard is damaged"):
        EndsAtOnce().after_exception(None, {0: RuntimeError("connection lost"), 1: mistake})
    EndsAtOnce().after_exception(None, {0: RuntimeError("killed")})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("a shard is damaged", "restore it"), "a shard is damaged"),
        (OSError(28, "No space left on device"), "full"),
        (OSError("AWS Error NETWORK_CONNECTION during PutObject operation"), "does not answer"),
    ],
)
def test_a_failed_training_is_one_line_where_the_user_can_mend_it(error, told):
    assert told in str(cause_of(failed(error)))
    assert "\n" not in str(cause_of(failed(error)))


def test_another_failure_stays_what_it_is():
    fault = failed(ZeroDivisionError())
    assert cause_of(fault) is fault


def test_ctrl_c_is_an_interruption_whatever_ray_train_makes_of_it():
    before = signal.getsignal(signal.SIGINT)

    def interrupted(code):
        with interruptible():
            signal.signal(signal.SIGINT, lambda *_: (_ for _ in ()).throw(SystemExit(code)))
            os.kill(os.getpid(), signal.SIGINT)

    for code in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            interrupted(code)
        assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(SystemExit):
        interrupted(signal.SIGTERM)
