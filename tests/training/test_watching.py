"""What a user is told of a run, and what MLflow is given: by a clock that the tests set."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from ray.exceptions import RayActorError, RayTaskError

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.training import telemetry
from mricore.training.place import Home
from mricore.training.rows import thinned
from mricore.training.status import Pace, Status
from mricore.training.telemetry import RowLog, log_kept_rows, log_rest
from mricore.training.terminal import Narrator
from mricore.training.watch import failure_of


def report(last_step, steps=10, seconds=0.5, slices=64, wait=0.1):
    """Rows of a report as the loop makes them, of so many seconds a step."""
    rows = [
        {"step": float(step), "loss/total": 5.0, "loss/ibot": float(step), "schedule/lr": step / 1000}
        for step in range(last_step - steps + 1, last_step + 1)
    ]
    rows[-1] |= {"gauge/rank": 7.0, "health/flat": 0.0, "time/data_wait_s": wait * seconds}
    rows[-1] |= {"time/step_s": (1 - wait) * seconds, "time/communication_s": seconds / 2}
    rows[-1]["progress/slices_per_s"] = slices / seconds
    return rows


def test_of_a_report_every_step_keeps_its_loss_and_the_last_row_has_the_means():
    rows = report(4, steps=4)
    rows[1] |= {"gauge/rank": 9.0, "knn/location": 0.5}
    few = thinned(rows)
    assert [set(row) for row in few[::2]] == [{"step", "loss/total"}] * 2
    assert few[1] == {"step": 2.0, "loss/total": 5.0, "knn/location": 0.5}
    assert few[-1]["loss/ibot"] == 2.5
    assert few[-1]["gauge/rank"] == 8.0
    assert few[-1]["schedule/lr"] == 4 / 1000
    assert set(few[-1]) == set(rows[-1])
    assert thinned([]) == []


def test_pace_is_of_training_alone_and_its_first_report_does_not_count_once_there_is_another():
    pace = Pace()
    assert math.isnan(pace.seconds_per_step)
    pace.add(report(10, seconds=3.0))
    assert pace.seconds_per_step == pytest.approx(3.0)
    for step in (20, 30):
        pace.add(report(step, seconds=0.5))
    assert pace.seconds_per_step == pytest.approx(0.5)
    assert pace.slices_per_s == pytest.approx(128)
    assert pace.data_wait_share == pytest.approx(0.1)
    assert pace.last_slices == pytest.approx(640)
    pace.restart()  # others: slow at first, and then at a pace of their own
    pace.add(report(40, seconds=3.0))
    assert pace.seconds_per_step == pytest.approx(0.5)
    pace.add(report(50, seconds=1.0))
    assert pace.seconds_per_step == pytest.approx(1.0)


def test_pace_follows_a_change_within_minutes():
    pace = Pace()
    for number in range(100):
        pace.add(report(10 * number + 10, seconds=0.5))
    for number in range(100, 124):  # two minutes at a second a step, of which a half-life is one
        pace.add(report(10 * number + 10, seconds=1.0))
    assert 0.9 < pace.seconds_per_step < 1.0


def test_eta_after_a_resume_is_of_the_steps_that_are_left():
    """At step 900 of 1000 with 2 s a step, whatever time the process has been there."""
    narrator = Narrator(workers=2, epochs=10, began=0.0)
    narrator.lines(Status(), 0.0)
    status = Status(910, 1000, 2, 5.1234, 640.0, 2.0, 0.031, checkpoint_step=910)
    joined, line = narrator.lines(status, 40.0)
    assert joined == "2 workers at work"
    assert line == (
        "step 910/1,000, epoch 10/10, loss 5.123, 640.0 slices/s, 3% of the time waiting for data, "
        "ETA 3 min 0 s"
    )


def told(narrator, until, status=lambda now: Status()):
    """[(second, line)] with a look at the status in every second."""
    return [(now, line) for now in range(until + 1) for line in narrator.lines(status(now), float(now))]


def test_starting_workers_is_told_at_once_and_then_every_15_seconds():
    lines = told(Narrator(workers=1, epochs=1, began=0.0), 40)
    assert lines == [
        (0, "starting 1 worker: processes, weights, first batches"),
        (15, "starting 1 worker: processes, weights, first batches (15 s so far)"),
        (30, "starting 1 worker: processes, weights, first batches (30 s so far)"),
    ]


def test_workers_that_the_cluster_has_no_room_for_are_told_as_such():
    narrator = Narrator(workers=4, epochs=1, began=0.0, pending=lambda: True)
    assert told(narrator, 15)[-1] == (15, "starting 4 workers: waiting for free CPUs or GPUs (15 s so far)")


def test_lines_become_rarer_in_a_long_run_and_a_short_one_ends_with_its_last_step():
    def status(now):
        return Status(now + 1, 10_000, 1, 5.0, 32.0, 1.0, 0.0)

    narrator = Narrator(workers=1, epochs=1, began=0.0)
    lines = [now for now, line in told(narrator, 4000, status) if line.startswith("step")]
    gaps = [late - early for early, late in pairwise(lines)]
    assert gaps[0] == 3
    assert gaps[-1] == 60
    assert len(lines) < 130
    last = replace(status(4000), step=10_000)
    assert narrator.lines(last, 4000.5, ended=True)[0].endswith("done")
    assert narrator.lines(last, 4001.0, ended=True) == []


def test_failed_workers_are_told_in_a_line_and_their_new_start_too():
    narrator = Narrator(workers=2, epochs=1, began=0.0)
    status = Status(20, 100, 2, 5.0, 32.0, 1.0, 0.0, checkpoint_step=10)
    told(narrator, 5, lambda _: status)
    status = replace(status, failures=1, failure="worker 1 failed (its process is gone)")
    assert narrator.lines(status, 6.0) == [
        "worker 1 failed (its process is gone) after step 20; the last checkpoint is of step 10"
    ]
    waiting = [narrator.lines(status, float(now)) for now in range(7, 40)]
    assert any("starting 2 workers" in line for lines in waiting for line in lines)
    lines = narrator.lines(replace(status, step=15, workers=1), 41.0)
    assert lines[0] == "1 worker at work"
    assert lines[1].startswith("step 15/100")


def test_a_run_that_reports_nothing_for_long_is_told_as_one():
    status = Status(20, 100, 2, 5.0, 32.0, 1.0, 0.0)
    lines = told(Narrator(workers=2, epochs=1, began=0.0), 40, lambda _: status)
    assert [line for _, line in lines[2:]] == [
        f"no report for {seconds} s, the last was of step 20; a slow step, data that is waited for, "
        "or a checkpoint on its way to storage"
        for seconds in (15, 30)
    ]


def test_illness_and_an_absent_mlflow_are_told_when_they_begin():
    narrator = Narrator(workers=1, epochs=1, began=0.0)
    status = Status(20, 100, 1, 5.0, 32.0, 1.0, 0.0)
    narrator.lines(status, 0.0)
    ill = replace(status, step=21, signs=("flat",))
    assert narrator.lines(ill, 1.0)[0].endswith("signs of illness: flat")
    away = replace(ill, tracking="MLflow at http://x does not work (MlflowException)")
    assert narrator.lines(away, 2.0) == [
        "MLflow at http://x does not work (MlflowException); training goes on, "
        "its metrics are kept and logged later"
    ]
    assert narrator.lines(away, 3.0) == []
    assert narrator.lines(ill, 4.0) == ["MLflow works again and has all metrics"]


def test_a_failure_is_told_by_the_names_of_errors_and_nothing_that_they_quote():
    hidden = RayTaskError("f", "traceback of /pacs/ZORBLATT.dcm", ValueError("ZORBLATT"))
    said = failure_of({0: hidden, 1: RayActorError(), 2: ValueError("ZORBLATT"), 3: RayActorError()})
    assert said == "worker 0, 2 failed (ValueError); worker 1, 3 failed (its process is gone)"


def test_a_status_survives_its_file(tmp_path):
    path = tmp_path / "status.json"
    assert Status.read(path) == Status.read(path.with_name("none"))
    status = Status(3, 9, 2, 1.0, 2.0, 0.5, 0.25, ("flat",), 3, 1, "why", 4, "away")
    status.write(path)
    assert Status.read(path) == status


class Server:
    """Stands for MLflow: takes rows, or is away; knows its calls."""

    def __init__(self, monkeypatch):
        self.rows, self.calls, self.away, self.now = [], 0, False, 0.0
        monkeypatch.setattr(telemetry, "log_rows", self.log_rows)
        monkeypatch.setattr(telemetry.time, "monotonic", lambda: self.now)

    def log_rows(self, _, rows):
        self.calls += 1
        if self.away:
            raise UserError("MLflow does not answer", "wait")
        self.rows += rows


@pytest.fixture
def server(monkeypatch):
    return Server(monkeypatch)


@pytest.fixture
def run(tmp_path):
    return place(str(tmp_path / "run"))


def test_a_long_run_calls_mlflow_a_few_times_a_minute(server, run, tmp_path):
    """Half a second a step, a report every 5 s, a checkpoint every 30 s."""
    log = RowLog(None, run, tmp_path / "waiting.json")
    for step in range(10, 10_001, 10):
        server.now += 5.0
        log.add(thinned(report(step)), now=step % 60 == 0)
    log_rest(None, run, tmp_path / "waiting.json")
    minutes = server.now / 60
    assert server.calls / minutes < 9
    assert [row["step"] for row in server.rows] == list(range(1, 10_001))
    values = sum(len(row) - 2 for row in server.rows)
    assert values / 10_000 < 2  # one loss a step, the rest once a report
    assert 2 * values / server.calls < telemetry.METRICS_PER_CALL


def test_while_mlflow_is_away_it_is_tried_ever_more_rarely_and_then_has_every_row_once(server, run, tmp_path):
    log, file = RowLog(None, run, tmp_path / "waiting.json"), tmp_path / "waiting.json"
    server.away = True
    for step in range(1, 721):  # an hour
        server.now += 5.0
        log.add([{"step": float(step)}], now=step % 6 == 0)
    assert log.problem == "MLflow does not answer"
    assert server.calls < 20
    assert len(json.loads(run.read_bytes("unlogged.json"))) == 720
    server.away = False
    server.now += 300.0
    log.add([{"step": 721.0}], now=False)
    assert [row["step"] for row in server.rows] == list(range(1, 722))
    assert (log.problem, log.waiting, json.loads(file.read_text())) == ("", [], [])
    assert not run.exists("unlogged.json")


def test_rows_that_no_call_took_are_logged_when_the_controller_is_gone(server, run, tmp_path):
    log, file = RowLog(None, run, tmp_path / "waiting.json"), tmp_path / "waiting.json"
    log.add([{"step": 1.0}], now=False)
    log.add([{"step": 2.0}], now=False)  # too soon for a second call
    assert [row["step"] for row in server.rows] == [1.0]
    log_rest(None, run, file)
    assert [row["step"] for row in server.rows] == [1.0, 2.0]


def test_rows_of_a_run_that_ended_without_mlflow_are_logged_by_the_next_process(server, run, tmp_path):
    log, file = RowLog(None, run, tmp_path / "waiting.json"), tmp_path / "waiting.json"
    server.away = True
    log.add([{"step": 1.0}], now=True)
    assert log_rest(None, run, file) == 1
    server.away = False
    for _ in range(2):
        log_kept_rows(None, run)
    assert [row["step"] for row in server.rows] == [1.0]


def test_mlflow_takes_a_row_that_comes_again_for_the_same(tmp_path):
    """A call may fail after the server has stored what it was given."""
    where = Home(place(str(tmp_path / "out")), f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracked = telemetry.start_run(where, "test", "r", {}, {})
    rows = [{"at": 1000.0 + step, "step": float(step), "loss/total": step / 2} for step in (1, 2, 3)]
    telemetry.log_rows(tracked, rows[:2])
    telemetry.log_rows(tracked, rows)
    logged = tracked.client.get_metric_history(tracked.run_id, "loss/total")
    assert [(one.step, one.value, one.timestamp) for one in logged] == [
        (1, 0.5, 1001_000),
        (2, 1.0, 1002_000),
        (3, 1.5, 1003_000),
    ]
    assert telemetry.history(tracked)[-1] == {"step": 3.0, "loss/total": 1.5}


def test_a_server_that_takes_connections_and_never_answers_holds_training_up_for_seconds(
    tmp_path, monkeypatch
):
    """MLflow's own patience is minutes, and its client would wait in the controller."""
    import socket
    import time

    monkeypatch.setitem(telemetry.IMPATIENT, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracked = telemetry.Tracked(f"http://127.0.0.1:{silent.getsockname()[1]}", "0", "run")
        log = RowLog(tracked, place(str(tmp_path / "run")), tmp_path / "waiting.json")
        begin = time.perf_counter()
        log.add([{"step": 1.0, "loss/total": 1.0}], now=True)
        assert time.perf_counter() - begin < 8
    assert "does not work" in log.problem
    assert [row["step"] for row in log.waiting] == [1.0]
