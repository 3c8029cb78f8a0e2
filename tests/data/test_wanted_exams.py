"""From report types of a hospital's table to protocols, or to the reason against an exam."""

import pytest

from mricore.config.curation import Curation, Protocol
from mricore.data.exam_table import ExamTable
from mricore.data.wanted_exams import wanted_exams
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.records import Reason

PSEUDONYMS = Pseudonymizer(b"k" * 32)
LIMBS = Curation(
    protocols=(Protocol(name="MR knee", any_of=("knee",)), Protocol(name="MR hip", any_of=("hip", "head")))
)


def judged(*types, policy=LIMBS):
    return wanted_exams(ExamTable({"key": types}), policy, PSEUDONYMS)["key"]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("MRI left knee",), "MR knee"),
        (("MRI hip", "MRI knee"), "MR knee"),
        (("MRI of the abdomen",), Reason.PROTOCOL_NOT_WANTED),
        ((), Reason.PROTOCOL_NOT_WANTED),
        (("MRI head",), Reason.FACIAL_ANATOMY),
        (("MRI knee", "MRI brain without contrast"), Reason.FACIAL_ANATOMY),
    ],
)
def test_an_exam_has_a_protocol_of_the_policy_or_a_reason_against_it(types, expected):
    assert judged(*types) == expected


def test_which_anatomy_is_left_out_is_what_the_policy_says():
    assert judged("MRI knee", policy=LIMBS.model_copy(update={"exclude_locations": ("knee",)})) == (
        Reason.FACIAL_ANATOMY
    )
    assert judged("MRI head", policy=LIMBS.model_copy(update={"exclude_locations": ()})) == "MR hip"


def test_without_protocols_a_report_type_is_a_pseudonym():
    found = judged("MRI knee of ZORBLATT", policy=Curation())
    assert "ZORBLATT" not in found.upper()
    assert found == judged("MRI right knee of Zorblatt with contrast", policy=Curation())
    assert found != judged("MRI hip", policy=Curation())
