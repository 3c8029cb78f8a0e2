"""Segmentation as a metric of training: reported, decisive for what is kept, checked beforehand."""

from pathlib import Path

import pytest
import torch
from records import small_dataset
from small import small_loop, small_recipe
from small_tasks import write_small_task

from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.training.best import Best, deciding
from mricore.training.checkpoint import STATE
from mricore.training.validation import Validation, with_labelled_task

EVERY = "train.validate_steps=4"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    small_dataset(target, 75)
    return target


def asked(root):
    return (EVERY, f"train.validate_task={root / 'shapes.toml'}", f"train.validate_data={root}")


def test_segmentation_is_a_metric_beside_k_nn_and_follows_the_weights(dataset, tmp_path):
    write_small_task(tmp_path, pool=8)
    recipe = small_recipe(*asked(tmp_path))
    loop = small_loop(dataset, recipe)
    validation = Validation(recipe, dataset, loop.source.manifest)
    seen = validation.of_state(loop.state, rank=0, workers=1)
    assert 0 < seen["validation/segmentation"] < 1
    assert validation.of_state(loop.state, 0, 1) == seen
    without = Validation(small_recipe(), dataset, loop.source.manifest).of_state(loop.state, 0, 1)
    assert "validation/segmentation" not in without
    assert without.items() <= seen.items()
    for path in tmp_path.glob("*/*.png"):
        path.unlink()
    assert validation.of_state(loop.state, 0, 1) == seen  # the slices were read once
    with torch.no_grad():
        for parameter in loop.state.teacher.parameters():
            parameter.zero_()
    assert validation.of_state(loop.state, 0, 1)["validation/segmentation"] == 0


def test_segmentation_chooses_the_best_checkpoint_where_it_is_measured(tmp_path):
    assert deciding(small_recipe().train) == "validation/mean"
    assert deciding(small_recipe(*asked(tmp_path)).train) == "validation/segmentation"


def test_scores_of_another_metric_do_not_count(tmp_path):
    files, run = tmp_path / "files", Place(str(tmp_path / "run"))
    files.mkdir()
    for metric, name, score in (("validation/mean", "1", 0.9), ("validation/segmentation", "2", 0.3)):
        (files / STATE).write_text(name)
        Best(run, 1, metric).offer(files, f"checkpoint_{name}", score)
    assert [one.name for one in Best(run, 1, "validation/segmentation").kept()] == ["best_2"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"best.json", "best_2"}


def test_scores_on_another_task_do_not_count(tmp_path):
    files, run = tmp_path / "files", Place(str(tmp_path / "run"))
    files.mkdir()
    first, other = (small_recipe(*asked(tmp_path), "train.keep_best=1").train for _ in range(2))
    other = other.model_copy(update={"validate_digest": "of another task"})
    Best.of(run, first).offer(files, "checkpoint_1", 0.9)
    assert [one.name for one in Best.of(run, first).kept()] == ["best_1"]
    assert Best.of(run, other).kept() == []


def test_the_task_is_read_before_a_run_begins_and_its_paths_made_absolute(tmp_path, monkeypatch):
    write_small_task(tmp_path, pool=8)
    monkeypatch.chdir(tmp_path)
    here = small_recipe(EVERY, "train.validate_task=shapes.toml", "train.validate_data=.")
    train = with_labelled_task(here).train
    assert (Path(train.validate_task), Path(train.validate_data)) == (tmp_path / "shapes.toml", tmp_path)
    assert len(train.validate_digest) == 64
    assert with_labelled_task(small_recipe()) == small_recipe()
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError):
        with_labelled_task(
            small_recipe(EVERY, "train.validate_task=shapes.toml", "train.validate_data=elsewhere")
        )
    with pytest.raises(UserError, match="no_such_task"):
        with_labelled_task(small_recipe(EVERY, "train.validate_task=no_such_task", "train.validate_data=."))


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(UserError, match="go together"):
        small_recipe(EVERY, "train.validate_task=abdomen")
    with pytest.raises(UserError, match=r"does nothing with train\.validate_steps=0"):
        small_recipe("train.validate_task=abdomen", "train.validate_data=x")
