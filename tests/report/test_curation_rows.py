"""Tables about a curation: complete, in a fixed order, and in words."""

import pytest

from mricore.config.curation import Curation, Protocol
from mricore.config.policy import load_policy, policy_names
from mricore.report.curation import (
    faces_let_in,
    funnel_table,
    protocol_rows,
    reject_groups,
    setting_rows,
)


def stored(policy):
    """A policy as a manifest holds it."""
    return policy.model_dump(mode="json")


def test_the_funnel_has_the_columns_that_a_step_counts():
    funnel = funnel_table([{"step": "a", "patients": 3, "files": 0}, {"step": "b", "images": 2}])
    assert funnel.columns == ["files", "images", "patients"]
    assert funnel_table(()).columns == []


def test_rejects_are_grouped_by_level_with_the_most_frequent_first():
    groups = reject_groups(
        [
            {"level": "exam", "reason": "over_protocol_limit", "count": 1},
            {"level": "file", "reason": "not_dicom", "count": 2},
            {"level": "volume", "reason": "gap", "count": 5},
            {"level": "file", "reason": "not_mr", "count": 30},
            {"level": "odd", "reason": "not_known", "count": 4},
        ]
    )
    assert [(group.heading, [(row.code, row.count) for row in group.rows]) for group in groups] == [
        ("Files", [("not_mr", 30), ("not_dicom", 2)]),
        ("Volumes", [("gap", 5)]),
        ("Exams", [("over_protocol_limit", 1)]),
        ("odd", [("not_known", 4)]),
    ]
    assert groups[0].rows[0].meaning == "not an MR image"
    assert "narrow the export" in groups[0].rows[0].remedy
    assert groups[3].rows[0].meaning == "not_known"


def test_every_setting_of_a_policy_is_told_once():
    rows = setting_rows(stored(Curation(min_slices=9, exclude_words=("ex vivo", "animal"))))
    assert {name for name, _ in rows} == set(Curation.model_fields) - {"protocols"}
    told = dict(rows)
    assert (told["min_slices"], told["exclude_words"]) == ("9", "ex vivo, animal")
    assert told["one_exam_per_patient"] == "yes"
    assert dict(setting_rows(stored(Curation(exclude_words=()))))["exclude_words"] == "none"


def test_the_order_of_settings_does_not_depend_on_the_manifest():
    policy = stored(Curation())
    assert setting_rows(policy) == setting_rows(dict(sorted(policy.items())))


def test_protocols_keep_their_order_and_phrases():
    protocols = (
        Protocol(name="MR knee", any_of=("knee", "knie"), none_of=("knee replacement",)),
        Protocol(name="MR arm", any_of=("arm",)),
    )
    assert protocol_rows(stored(Curation(protocols=protocols))) == [
        ("MR knee", "knee, knie", "knee replacement"),
        ("MR arm", "arm", "none"),
    ]
    assert protocol_rows({}) == []


@pytest.mark.parametrize("name", policy_names())
def test_the_policies_of_mricore_let_in_no_face(name):
    assert faces_let_in(stored(load_policy(name))) == []


def test_a_policy_that_lets_in_a_face_is_told():
    policy = Curation(exclude_locations=("face", "head", "cervical_spine", "whole_body", "knee"))
    assert faces_let_in(stored(policy)) == ["brain", "neck"]
    assert faces_let_in({}) == []
