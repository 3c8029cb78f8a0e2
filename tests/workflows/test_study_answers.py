"""What a study prints for each question, of arms that share an encoder."""

from mricore.evaluation.measurements import Measurement
from mricore.report.study import StudyInputs, StudyPage
from mricore.report.study_numbers import Judgement
from mricore.study_records import ArmResult, Asked, Evaluated, StudyResult


def arm(name, encoder):
    return ArmResult(name, "tiny", (), "run", "id", 1, 1, encoder=encoder)


def test_each_question_is_told_by_the_names_of_its_own_arms():
    """The encoder "x" was judged once, as "big", and is "long" in the question."""
    asked = (
        Asked("length", "Longer", "short", ("long",), "bars"),
        Asked("self", "Same", "big", ("long",), "bars"),
    )
    arms = (arm("big", "x"), arm("short", "y"), arm("long", "x"))
    how = Evaluated("few_shot", "cpu", 3, ("liver",))
    result = StudyResult("s", "Title", "tiny", "big", (), arms, asked, evaluations=(how,))
    rows = [
        Measurement(
            "few_shot",
            "liver",
            "cpu",
            name,
            draw,
            f"p{case}",
            f"c{case}",
            "mean",
            "dice_3d",
            value + 0.01 * case,
        )
        for name, value in (("big", 0.6), ("short", 0.5))
        for draw in range(3)
        for case in range(4)
    ]
    told = StudyPage(StudyInputs(result, [Judgement(how, rows)])).text()
    length, same = told.split("\n\nSame: 3D DSC, few-shot, cpu\n")
    assert "long - short +0.100" in length
    assert "big" not in length
    assert same == "no other encoder than that of big"
