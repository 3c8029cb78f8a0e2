"""Which trainings the arms of a study need, and what they may differ in."""

import pytest
import torch
from sam_reference import sam_encoder
from small import SMALL, small_recipe

from mricore.config.overrides import apply_overrides
from mricore.config.study import ArmSpec, Study, load_study, study_of
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.training.launch import identity
from mricore.workflows.study_trainings import alone, ready, recipes_of, trainings_of, without

ON_TINY = ("initial.layout=sam", "initial.weights=sam.pth")


def study(**arms):
    return study_of(
        "arms", "Arms", "tiny", [ArmSpec(name=name, settings=settings) for name, settings in arms.items()]
    )


def read(trainings):
    """[(epochs, {arm: epoch}, kept epochs)]"""
    return [
        (one.epochs, {reading.arm: reading.epoch for reading in one.readings}, one.recipe.train.keep_epochs)
        for one in trainings
    ]


def trainings(**arms):
    return trainings_of(recipes_of(study(**arms), "tiny", ()))


def test_equal_arms_are_trained_once():
    found = trainings(
        a=["optimizer.lr=1e-3"],
        b=["optimizer.lr=0.001", "train.log_every=7", "train.workers=1"],
        c=["optimizer.lr=2e-3"],
        d=["optimizer.lr=2e-3", "seed=1"],
    )
    assert [list(arms) for _, arms, _ in read(found)] == [["a", "b"], ["c"], ["d"]]


@pytest.mark.parametrize(
    "settings",
    [
        ["train.keep_best=1", "train.validate_steps=8"],
        ["health.action=roll_back"],
        ["train.epochs=4", "train.schedule_epochs=4", "health.patience=9"],
    ],
)
def test_arms_that_would_be_one_run_and_ship_other_weights_are_refused(settings):
    with pytest.raises(UserError, match="arms a and b would be one run"):
        trainings(a=["seed=1"], b=["seed=1", *settings])


def test_arms_that_begin_with_other_files_are_other_trainings_before_the_files_are_read():
    found = trainings(
        a=["initial.layout=sam", "initial.weights=sam.pth"],
        b=["initial.layout=sam", "initial.weights=medsam.pth"],
        same=["initial.layout=sam", "initial.weights=sam.pth"],
    )
    assert [list(arms) for _, arms, _ in read(found)] == [["a", "same"], ["b"]]


def test_shorter_arms_of_one_schedule_are_read_from_the_longest():
    found = trainings(
        two=["train.epochs=2", "train.schedule_epochs=8"],
        five=["train.epochs=5", "train.schedule_epochs=8"],
        other=["train.epochs=2", "train.schedule_epochs=8", "seed=1"],
        complete=["train.epochs=2"],
    )
    assert read(found) == [
        (5, {"two": 2, "five": 5}, (2,)),
        (2, {"other": 2}, ()),
        (2, {"complete": 2}, ()),
    ]
    assert found[0].recipe.train.schedule_epochs == 8


def test_a_schedule_that_ends_with_the_run_is_a_complete_one():
    found = trainings(
        two=["train.epochs=2", "train.schedule_epochs=8"],
        eight=["train.epochs=8", "train.schedule_epochs=8"],
        whole=["train.epochs=8"],
    )
    assert read(found) == [(8, {"two": 2, "eight": 8, "whole": 8}, (2,))]
    # it is the run that jobs/pretrain.py would find
    assert identity(found[0].recipe) == identity(recipes_of(study(a=["train.epochs=8"]), "tiny", ())["a"])


@pytest.mark.parametrize(
    "setting",
    [
        'augment.stages=[{"until":0.5,"global_size":48,"local_size":24}]',
        "train.keep_best=1",
    ],
)
def test_what_depends_on_the_length_of_a_run_is_trained_apart(setting):
    more = ["train.validate_steps=5", setting] if "keep_best" in setting else [setting]
    found = trainings(
        two=["train.epochs=2", "train.schedule_epochs=8", *more],
        eight=["train.epochs=8", *more],
    )
    assert [arms for _, arms, _ in read(found)] == [{"two": 2}, {"eight": 8}]


def test_readings_can_be_taken_out_of_a_training():
    (whole,) = trainings(
        two=["train.epochs=2", "train.schedule_epochs=8"],
        four=["train.epochs=4", "train.schedule_epochs=8"],
        eight=["train.epochs=8", "train.keep_epochs=[3]"],
    )
    assert read([whole])[0][2] == (2, 3, 4)
    assert read([without(whole, [4])]) == [(8, {"two": 2, "eight": 8}, (2, 3))]
    apart = alone(whole, 4)
    assert read([apart]) == [(4, {"four": 4}, ())]
    assert apart.recipe.train.schedule_epochs == 8


def test_the_paper_on_tiny_needs_eight_trainings():
    found = trainings_of(recipes_of(load_study("paper"), "tiny", ON_TINY))
    assert len(found) == 8
    assert found[-1].epochs == 64
    assert found[-1].recipe.train.keep_epochs == (2, 4, 8, 16, 32)
    recipes = {reading.arm: one.recipe for one in found for reading in one.readings}
    winner = recipes["MRI-CORE"]
    changed = {
        name: {
            path
            for path, value in flat(recipe).items()
            if value != flat(winner)[path] and path not in ("name", "train.keep_epochs")
        }
        for name, recipe in recipes.items()
        if name not in ("MRI-CORE", "MAE") and "epochs" not in name
    }
    assert changed == {
        "SAM in the student": {"initial.into"},
        "random weights": {"initial.layout"},
        "lr 4e-3": {"optimizer.lr"},
        "with replacement": {"data.replacement"},
        "volume-wise": {"data.normalization"},
    }
    assert (recipes["MAE"].method, recipes["MAE"].initial) == ("mae", winner.initial)


def flat(recipe):
    document = recipe.model_dump(mode="json")
    return {
        f"{section}.{name}" if isinstance(content, dict) else section: value
        for section, content in document.items()
        for name, value in (content.items() if isinstance(content, dict) else [("", content)])
    }


def test_settings_of_an_arm_win_over_the_command_line_and_that_over_the_study():
    spec = Study(
        name="s",
        title="S",
        recipe="tiny",
        baseline="a",
        settings=("seed=1", "optimizer.lr=1e-3", "train.epochs=2"),
        arms=(ArmSpec(name="a", settings=("train.epochs=3",)),),
    )
    found = recipes_of(spec, "tiny", ("optimizer.lr=2e-3", "train.epochs=9"))["a"]
    assert (found.seed, found.optimizer.lr, found.train.epochs) == (1, 2e-3, 3)
    assert found.health.action == "log"
    assert recipes_of(spec, "tiny", ("health.action=pause",))["a"].health.action == "pause"


def test_a_rival_recipe_takes_what_concerns_it_and_needs_a_counterpart():
    paper = load_study("paper")
    found = recipes_of(paper, "tiny", (*ON_TINY, "augment.local_crops=2", "augment.global_size=48"))
    assert found["MAE"].augment.global_size == 48
    with pytest.raises(UserError) as caught:
        recipes_of(paper, "vits16_mri", ON_TINY)
    assert "MAE" in caught.value.problem
    assert "vitb16_mri" in caught.value.remedy


@pytest.mark.parametrize(
    ("arms", "told"),
    [
        ({"a": ["curation.seed=1"], "b": ["curation.seed=2"]}, "differ in curation"),
        ({"a": ["optimizer.rate=1"]}, "arm a: unknown setting 'optimizer.rate'"),
        ({"a": ["initial.into=student"]}, "arm a: setting initial.into does nothing"),
        ({"a": ["train.epochs=0"]}, "arm a: setting train.epochs"),
    ],
)
def test_arms_that_cannot_be_are_refused_by_name(arms, told):
    with pytest.raises(UserError, match=told):
        trainings(**arms)


def test_weights_that_arms_share_are_read_and_told_once(tmp_path, capsys):
    path = tmp_path / "sam.pth"
    tensors = sam_encoder(small_recipe().model).state_dict()
    torch.save({f"image_encoder.{name}": tensor for name, tensor in tensors.items()}, path)
    shared = [*SMALL, "initial.layout=sam", f"initial.weights={path}"]
    recipes = recipes_of(
        study(a=["seed=1"], b=["initial.into=student"], c=["initial.layout=none"]), "tiny", shared
    )
    made = ready(recipes, place(str(tmp_path / "outputs")))
    assert capsys.readouterr().out.count("loaded") == 1
    assert made["a"].initial.sha256 == made["b"].initial.sha256 != ""
    assert (made["a"].initial.into, made["b"].initial.into) == ("both", "student")
    assert made["c"].initial.sha256 == ""
    assert apply_overrides(made["a"], []).initial.weights.startswith(str(tmp_path / "outputs"))
