"""Signs of illness: which reports show them, how often they must be seen, and what a checkpoint keeps."""

import json
import subprocess
import sys

import pytest

from mricore.config.schema import Health
from mricore.objective.health import SIGNS, Monitor, is_finite, signs_of

WELL = {
    "step": 20.0,
    "loss/total": 9.5,
    "gauge/teacher_entropy": 0.6,
    "gauge/information": 0.7,
    "gauge/update_norm": 2e-3,
    "gauge/rank": 18.0,
}
ILL = {
    "certain": {"gauge/teacher_entropy": 0.01},
    "alike": {"gauge/information": 0.02},
    "violent": {"gauge/update_norm": 0.02},
    "flat": {"gauge/rank": 1.05},
    "worse": {"loss/total": 15.0},
}


def monitor(patience=3):
    return Monitor(Health(patience=patience))


def names(row):
    return [sign.name for sign in signs_of(row, WELL)]


def test_a_healthy_report_shows_nothing_and_each_illness_its_own_sign():
    assert names(WELL) == []
    assert set(ILL) == {sign.name for sign in SIGNS}
    for name, changed in ILL.items():
        assert names(WELL | changed) == [name]
    below_zero = {**WELL, "loss/total": -1.0}
    assert not [sign for sign in signs_of({**WELL, "loss/total": -0.9}, below_zero) if sign.name == "worse"]


def test_what_a_method_does_not_measure_shows_nothing():
    assert names({"loss/total": 1.0, "gauge/rank": 6.0, "gauge/update_norm": 1e-3}) == []


@pytest.mark.parametrize("name", ILL)
def test_a_sign_counts_once_it_was_seen_in_as_many_reports_in_a_row_as_the_patience_says(name):
    watching, ill = monitor(patience=3), WELL | ILL[name]
    assert watching.observe(WELL) is None
    assert not watching.suspicious
    assert [watching.observe(row) for row in (ill, ill, WELL, ill, ill)] == [None] * 5
    assert watching.suspicious
    told = watching.observe(ill)
    assert told.name == name
    assert "\n" not in told.says + told.remedy


def test_signs_are_counted_apart():
    watching = monitor(patience=2)
    reports = [WELL, *(WELL | ILL[name] for name in ("certain", "flat", "certain"))]
    assert [watching.observe(row) for row in reports] == [None] * 4
    assert watching.observe(WELL | ILL["certain"] | ILL["flat"]) is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_losses_and_gradients_must_be_numbers_and_other_gauges_need_not(value):
    assert is_finite(WELL)
    for name in ("loss/koleo", "loss/total", "gauge/gradient_norm"):
        assert not is_finite(WELL | {name: value})
    assert is_finite(WELL | {"gauge/rank": value})


def test_the_state_is_json_and_a_restored_monitor_goes_on_counting():
    watching, ill = monitor(patience=3), WELL | ILL["worse"]
    for row in (WELL, ill, ill):
        watching.observe(row)
    restored = Monitor.restored(Health(patience=3), json.loads(json.dumps(watching.state())))
    assert restored == watching
    assert restored.observe(ill) == watching.observe(ill) is not None


def test_after_going_back_signs_are_counted_anew_and_the_start_is_remembered():
    watching, ill = monitor(patience=2), WELL | ILL["worse"]
    for row in (WELL, ill):
        watching.observe(row)
    watching.forget()
    assert not watching.suspicious
    assert [watching.observe(ill) is None for _ in range(2)] == [True, False]


def test_health_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import mricore.objective.health"
    subprocess.run([sys.executable, "-c", code], check=True)
