"""Checkpoints that are kept at the ends of epochs: the same bits as those of a run that stops there."""

import pytest
import torch
from pyarrow import fs
from records import small_dataset
from small import small_loop, small_recipe

from mricore.config.overrides import apply_overrides
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.training.checkpoint import STATE, TENSORS, CheckpointInfo, save_checkpoint, shipped, snapshot
from mricore.training.initial import initial_state
from mricore.training.kept import KeptEpochs, kept_name
from mricore.training.launch import identity

LONG = ("train.epochs=4", "train.schedule_epochs=6", "train.checkpoint_seconds=1000", "train.log_every=3")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    small_dataset(target, 75)
    return target


def ended(dataset, recipe):
    """{epochs done: the shipped network's tensors} at every report that is kept, and at the end."""
    loop, found = small_loop(dataset, recipe), {}
    for report in loop.run():
        if report.keep or report.step == loop.total:
            epoch = report.keep or recipe.train.epochs
            assert report.save
            assert report.step == epoch * loop.steps_per_epoch
            found[epoch] = shipped(snapshot(loop.state), recipe).state_dict()
    return found


@pytest.mark.parametrize("method", [(), ("train.log_every=1",), ("objective.centering=center",)])
def test_what_is_kept_is_what_a_run_stopped_there_ships(dataset, method):
    kept = ended(dataset, small_recipe(*LONG, "train.keep_epochs=[1,3]", *method))
    assert sorted(kept) == [1, 3, 4]
    for epoch in (1, 3):
        stopped = ended(dataset, small_recipe(*LONG, *method, f"train.epochs={epoch}"))
        assert list(stopped) == [epoch]
        assert all(torch.equal(kept[epoch][name], tensor) for name, tensor in stopped[epoch].items())
        complete = ended(
            dataset, small_recipe(*LONG, *method, "train.schedule_epochs=null", f"train.epochs={epoch}")
        )
        assert not all(torch.equal(kept[epoch][name], tensor) for name, tensor in complete[epoch].items())


def test_keeping_changes_nothing_of_what_is_learned(dataset):
    plain, kept = (
        ended(dataset, small_recipe(*LONG, f"train.keep_epochs={some}"))[4] for some in ("[]", "[2]")
    )
    assert all(torch.equal(plain[name], tensor) for name, tensor in kept.items())
    assert identity(small_recipe("train.keep_epochs=[1]")) == identity(small_recipe())


def test_an_ill_state_is_not_kept(dataset):
    recipe = small_recipe(*LONG, "train.keep_epochs=[1]", "health.action=pause")
    loop = small_loop(dataset, recipe)
    with torch.no_grad():
        next(loop.state.student.parameters()).fill_(float("nan"))
    reports = []
    with pytest.raises(Exception, match="step"):
        reports.extend(loop.run())
    assert not any(report.keep for report in reports)


def test_a_copy_counts_when_all_of_it_is_there_and_is_replaced_by_a_later_one(tmp_path):
    run, files = tmp_path / "run", tmp_path / "files"
    kept = KeptEpochs(fs.LocalFileSystem(), str(run))
    for seed in (0, 1):
        files = tmp_path / str(seed)
        files.mkdir()
        recipe = small_recipe(f"seed={seed}")
        save_checkpoint(files, initial_state(recipe, torch.device("cpu")), CheckpointInfo(5, 5, "", recipe))
        kept.keep(files, 1)
        copied = run / kept_name(1)
        assert kept.has(1)
        assert not kept.has(2)
        assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
            path.name: path.read_bytes() for path in files.iterdir()
        }
    (copied / STATE).unlink()
    assert (copied / TENSORS).exists()
    assert not kept.has(1)


@pytest.mark.faults
@pytest.mark.parametrize("copies", [0, 1])
def test_a_copy_that_was_killed_does_not_count_whatever_was_there_before(tmp_path, monkeypatch, copies):
    kept, copy, done = KeptEpochs(fs.LocalFileSystem(), str(tmp_path / "run")), fs.copy_files, []
    for name in (TENSORS, STATE):
        (tmp_path / name).write_bytes(b"whole")
    kept.keep(tmp_path, 1)

    def killed(*arguments, **named):
        if len(done) == copies:
            raise KeyboardInterrupt
        done.append(copy(*arguments, **named))

    monkeypatch.setattr(fs, "copy_files", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.keep(tmp_path, 1)
    assert not kept.has(1)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("train.keep_epochs=[0]", "keep_epochs"),
        ("train.keep_epochs=[9]", "keep_epochs"),
        ("train.gpus_per_worker=0", "gpus_per_worker"),
        ("train.gpus_per_worker=0.5", "train.gpu=false"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(setting, told):
    with pytest.raises(UserError, match=told):
        small_recipe(setting)


def test_a_share_of_a_gpu_is_for_one_worker():
    one = ["train.gpu=true", "train.workers=1", "train.gpus_per_worker=0.25"]
    assert apply_overrides(small_recipe(), one).train.gpus_per_worker == 0.25
    with pytest.raises(UserError, match="workers=1"):
        apply_overrides(small_recipe(), [*one, "train.workers=2"])
