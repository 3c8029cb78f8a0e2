"""Studies as files: the shipped ones, what is refused, and what is kept of one."""

import json

import pytest

from mricore.config.study import arm_of, load_study, study_names, study_of
from mricore.errors import UserError
from mricore.study_records import ArmResult, Asked, Evaluated, StudyResult

FILE = """
name = "mine"
title = "Two rates"
recipe = "tiny"
baseline = "low"
[[arm]]
name = "low"
settings = ["optimizer.lr=1e-4"]
[[arm]]
name = "high"
settings = ["optimizer.lr=1e-3"]
[[question]]
name = "rate"
title = "Which rate?"
reference = "low"
arms = ["high"]
"""


def written(tmp_path, *changes):
    text = FILE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_the_paper_asks_what_figure_2_shows():
    study = load_study("paper")
    assert {question.name for question in study.questions} == {
        *("initial", "learning_rate", "sampling", "normalization", "objective", "epochs")
    }
    (curve,) = (question for question in study.questions if question.kind == "curve")
    assert curve.reference == "4 epochs"
    assert {curve.reference, *curve.arms} == {f"{epochs} epochs" for epochs in (2, 4, 8, 16, 32, 64)}
    asked = {name for question in study.questions for name in (question.reference, *question.arms)}
    assert asked == {arm.name for arm in study.arms}


@pytest.mark.parametrize("name", study_names())
def test_shipped_studies_are_called_like_their_files(name):
    assert load_study(name).name == name


def test_a_file_of_the_user_is_read(tmp_path):
    study = load_study(written(tmp_path))
    assert [arm.settings for arm in study.arms] == [("optimizer.lr=1e-4",), ("optimizer.lr=1e-3",)]
    assert study.questions[0].kind == "bars"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('baseline = "low"', 'baseline = "none"', "no arm 'none'"),
        ('arms = ["high"]', 'arms = ["height"]', "no arm 'height'"),
        ('arms = ["high"]', 'arms = ["low"]', "'low' is there twice"),
        ('arms = ["high"]', "arms = []", "write at least one"),
        ('name = "high"', 'name = "low"', "arm 'low' is there twice"),
        ('name = "high"', 'name = "high=1"', "arms 2 name"),
        ('settings = ["optimizer.lr=1e-3"]', 'settings = "optimizer.lr=1e-3"', "list in square brackets"),
        ('settings = ["optimizer.lr=1e-3"]', 'settings = ["fast"]', "arms 2 settings 1"),
        ('settings = ["optimizer.lr=1e-3"]', 'set = ["optimizer.lr=1e-3"]', "arm 2: key 'set' is unknown"),
        ("[[question]]", "[question]", "write [[question]]"),
        ('reference = "low"', 'reference = "low"\nkind = "pie"', "'bars' or 'curve'"),
        ('title = "Two rates"', "", "add this key"),
        ('title = "Two rates"', 'title = "Two', "not TOML"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, before, after, told):
    with pytest.raises(UserError) as caught:
        load_study(written(tmp_path, (before, after)))
    assert told in f"{caught.value.problem} {caught.value.remedy}"
    assert "\n" not in caught.value.problem


def test_an_unknown_study_is_told_with_the_known_ones():
    with pytest.raises(UserError) as caught:
        load_study("papers")
    assert "paper" in caught.value.remedy


def test_arms_of_the_command_line_are_compared_with_the_baseline(tmp_path):
    study = load_study(written(tmp_path))
    assert study.with_arms([]) == study
    added = study.with_arms([arm_of("middle", ["optimizer.lr=3e-4"])])
    assert added.questions[-1].reference == "low"
    assert added.questions[-1].arms == ("middle",)
    with pytest.raises(UserError, match="'high' is there twice"):
        study.with_arms([arm_of("high", ["seed=1"])])


def test_arms_alone_are_a_study_against_the_first():
    study = study_of("arms", "Arms", "tiny", [arm_of("a", ["seed=1"]), arm_of("b", ["seed=2"])])
    assert (study.baseline, study.questions[0].arms) == ("a", ("b",))
    assert study_of("arms", "Arms", "tiny", [arm_of("a", ["seed=1"])]).questions == ()
    for name, settings in (("a=b", ["seed=1"]), ("", ["seed=1"]), ("a", ["seed"])):
        with pytest.raises(UserError):
            arm_of(name, settings)


JUDGED = """
part = "test"
name = "mine"
title = "Is it better than before?"
recipe = "tiny"
baseline = "before"
[[arm]]
name = "before"
untrained = true
[[arm]]
name = "after"
[[judge]]
protocol = "patch_probe"
mode = "linear"
draws = 10
settings = ["features.image_size=224"]
[[judge]]
protocol = "knn"
arms = ["after", "before"]
"""


def judged(tmp_path, *changes):
    text = JUDGED
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    path = tmp_path / "judged.toml"
    path.write_text(text)
    return load_study(str(path))


def test_a_file_says_by_whom_and_how_its_arms_are_judged(tmp_path):
    study = judged(tmp_path)
    assert study.part == "test"
    assert [arm.untrained for arm in study.arms] == [True, False]
    probe, neighbours = study.judges
    assert (probe.protocol, probe.mode, probe.draws) == ("patch_probe", "linear", 10)
    assert probe.settings == ("features.image_size=224",)
    assert (neighbours.mode, neighbours.draws, neighbours.arms) == (None, None, ("after", "before"))


def test_development_patients_judge_unless_the_file_says_otherwise(tmp_path):
    assert judged(tmp_path, ('part = "test"', "")).part == "development"
    assert [name for name in study_names() if load_study(name).part != "development"] == [
        "continued",
        "directions",
        "proof",
    ]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('part = "test"', 'part = "pool"', "'pool' is unknown"),
        ('protocol = "knn"', 'protocol = "nearest"', "'nearest' is unknown"),
        ('protocol = "knn"', 'protocol = "knn"\nk = 3', "judge 2: key 'k' is unknown"),
        ('arms = ["after", "before"]', 'arms = ["between"]', "no arm 'between'"),
        ('arms = ["after", "before"]', 'arms = ["after", "after"]', "'after' is there twice"),
        ("draws = 10", "draws = 0", "judges 1 draws"),
        ('name = "after"', 'name = "after"\nuntrained = true', "no arm is trained"),
        ("untrained = true", 'untrained = "yes"', "without quotation marks"),
    ],
)
def test_judges_and_arms_that_cannot_be_are_told_in_one_line(tmp_path, before, after, told):
    with pytest.raises(UserError) as caught:
        judged(tmp_path, (before, after))
    assert told in f"{caught.value.problem} {caught.value.remedy}"
    assert "\n" not in caught.value.problem


def test_who_is_judged_on_test_patients_declares_arms_and_judges_beforehand(tmp_path):
    with pytest.raises(UserError, match="fixed beforehand"):
        judged(tmp_path).with_arms([arm_of("more", ["seed=1"])])
    path = tmp_path / "undeclared.toml"
    path.write_text(JUDGED.partition("[[judge]]")[0])
    with pytest.raises(UserError, match=r"write \[\[judge\]\]"):
        load_study(str(path))


RESULT = StudyResult(
    name="mine",
    title="Mine",
    recipe="tiny",
    baseline="low",
    settings=("seed=1",),
    arms=(
        ArmResult(
            "low", "tiny", ("optimizer.lr=1e-4",), "run", "id", 2, 4, "ill", "collapsed", 10, "checkpoint"
        ),
    ),
    questions=(Asked("rate", "Which?", "low", ("high",), "bars"),),
    part="test",
    judging=("--draws", "3"),
    evaluations=(
        Evaluated("few_shot", "cpu", 3, ("shapes",)),
        Evaluated("knn", "strict", 1, ("shapes",), ("knn.k=3",), ("low",)),
    ),
)


def test_what_is_known_of_a_study_is_read_as_it_was_written():
    assert StudyResult.from_json(RESULT.to_json()) == RESULT
    assert RESULT.arm("low").problem == "collapsed"
    assert [one.folder for one in RESULT.evaluations] == [
        "evaluations/few_shot-cpu",
        "evaluations/knn-strict",
    ]
    with pytest.raises(KeyError):
        RESULT.arm("high")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("format"),
        lambda document: document.update(format=99),
        lambda document: document.pop("arms"),
        lambda document: document.update(more=1),
        lambda document: document["arms"][0].update(more=1),
        lambda document: document.update(questions=5),
        lambda document: document.pop("evaluations"),
        lambda document: document["evaluations"][1].update(more=1),
    ],
)
def test_a_damaged_record_of_a_study_is_refused(change):
    document = json.loads(RESULT.to_json())
    change(document)
    for text in (json.dumps(document), RESULT.to_json()[:-20]):
        with pytest.raises(UserError, match="damaged"):
            StudyResult.from_json(text)
