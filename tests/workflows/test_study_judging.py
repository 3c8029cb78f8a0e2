"""Who judges the arms of a study, and with which settings: the file's, then those of the command line."""

import pytest

from mricore.config.study import ArmSpec, JudgeSpec, Study
from mricore.errors import UserError
from mricore.study_records import ArmResult, StudyResult
from mricore.workflows.study_evaluation import judged_arms
from mricore.workflows.study_judging import PROTOCOLS, is_of_judging, judges_of


def study(*judges):
    arms = (ArmSpec(name="a"),)
    return Study(name="s", title="S", recipe="tiny", baseline="a", arms=arms, judges=judges)


def found(judges):
    return [(one.protocol.name, one.mode, one.draws, one.assignments) for one in judges]


def test_without_judges_arms_are_judged_by_few_shot_as_the_command_line_has_it():
    assert found(judges_of(study(), None, None, [])) == [("few_shot", "cpu", 3, ())]
    told = judges_of(study(), "strict", 7, ["few_shot.epochs=5"])
    assert found(told) == [("few_shot", "strict", 7, ("few_shot.epochs=5",))]


def test_a_judge_is_like_its_script_unless_told_otherwise_but_with_five_draws_at_most():
    judges = judges_of(study(*(JudgeSpec(protocol=name) for name in PROTOCOLS)), None, None, [])
    assert {(one.protocol.name, one.mode, one.draws) for one in judges} == {
        ("few_shot", "strict", 5),
        ("patch_probe", "linear", 5),
        ("linear_probe", "strict", 5),
        ("knn", "strict", 1),
        ("zero_shot", "paper", 1),
    }


def test_draws_of_the_command_line_are_those_of_every_judge_that_draws():
    judges = study(
        JudgeSpec(protocol="patch_probe", draws=10),
        JudgeSpec(protocol="zero_shot"),
        JudgeSpec(protocol="knn"),
    )
    assert [one.draws for one in judges_of(judges, None, 4, [])] == [4, 4, 1]


def test_settings_go_to_the_judges_that_have_their_section_after_their_own():
    judges = judges_of(
        study(
            JudgeSpec(protocol="patch_probe", settings=("features.image_size=64",)),
            JudgeSpec(protocol="few_shot"),
        ),
        None,
        None,
        ["features.image_size=32", "run.cpus=1", "few_shot.epochs=9"],
    )
    assert [one.assignments for one in judges] == [
        ("features.image_size=64", "features.image_size=32", "run.cpus=1"),
        ("run.cpus=1", "few_shot.epochs=9"),
    ]


def test_settings_of_judges_are_told_from_those_of_the_recipe():
    of_judges = ("few_shot.epochs=1", "features.kind=dense", "clusters.counts=[2]", "knn.k=3", "run.gpus=1")
    assert all(map(is_of_judging, of_judges))
    assert not any(map(is_of_judging, ("train.epochs=1", "seed=1", "data.source=ray")))


@pytest.mark.parametrize(
    ("judges", "arguments", "told"),
    [
        ([JudgeSpec(protocol="knn")], ("strict", None, []), "says itself"),
        ([JudgeSpec(protocol="knn", mode="paper")], (None, None, []), "no mode 'paper'"),
        ([JudgeSpec(protocol="knn", draws=2)], (None, None, []), "draws nothing"),
        ([JudgeSpec(protocol="knn"), JudgeSpec(protocol="knn")], (None, None, []), "twice"),
        ([], ("fast", None, []), "no mode 'fast'"),
        ([], (None, None, ["features.kind=dense"]), "no judge of study s has settings features"),
    ],
)
def test_judges_that_cannot_be_are_refused(judges, arguments, told):
    with pytest.raises(UserError, match=told):
        judges_of(study(*judges), *arguments)


def test_arms_that_are_one_encoder_have_one_name_whoever_judges_them():
    arms = tuple(
        ArmResult(name, "tiny", (), "run", "id", 1, 1, encoder=encoder)
        for name, encoder in (("big", "x"), ("small", "y"), ("twin", "x"), ("lost", ""))
    )
    result = StudyResult("s", "S", "tiny", "big", (), arms, ())
    assert judged_arms(result) == {"x": "big", "y": "small"}
    assert judged_arms(result, ["twin", "lost"]) == {"x": "big"}
