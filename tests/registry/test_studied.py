"""Runs of a study in MLflow: the parent that stays, its children, and scores that are judged again."""

import pytest

from mricore.data.storage import place
from mricore.evaluation.statistics import Interval
from mricore.registry.studied import adopt, log_scores, open_parent
from mricore.training.place import Home
from mricore.training.telemetry import require_tracking, start_run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studied")
    home = Home(place(str(folder / "outputs")), f"sqlite:///{folder / 'mlflow.db'}")
    require_tracking(home)
    return home


def test_a_study_keeps_its_run_where_mlflow_knows_it(home):
    first = open_parent(home, "x", "crops", {"code": "1"})
    again = open_parent(home, "x", "crops", {"code": "2"}, first.run_id)
    assert again == first
    assert first.client.get_run(first.run_id).data.tags["code"] == "2"
    assert first.client.get_run(first.run_id).info.status == "RUNNING"
    elsewhere = open_parent(home, "x", "crops", {}, "0" * 32)
    assert elsewhere.run_id != first.run_id
    child = start_run(home, "x", "child", {}, {})
    adopt(elsewhere, child)
    found = child.client.search_runs(
        [child.experiment_id], f"tags.`mlflow.parentRunId` = '{elsewhere.run_id}'"
    )
    assert [run.info.run_id for run in found] == [child.run_id]


def test_the_latest_judgement_counts_also_where_it_is_lower(home):
    child = start_run(home, "x", "child", {}, {})
    for middle in (0.6, 0.7, 0.5):
        log_scores(child, {"study/liver/dice": Interval(middle, middle - 0.1, middle + 0.1)}, 40)
    metrics = child.client.get_run(child.run_id).data.metrics
    assert metrics == pytest.approx(
        {"study/liver/dice": 0.5, "study/liver/dice.low": 0.4, "study/liver/dice.high": 0.6}
    )
