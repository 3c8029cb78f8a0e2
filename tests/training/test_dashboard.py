"""What a real Ray tells of a run: figures as Prometheus reads them, and workers that have no room."""

import re
import time
import urllib.request

import pytest
import ray
from ray.util import placement_group, remove_placement_group

from mricore.data.storage import place
from mricore.training import telemetry
from mricore.training.place import Home
from mricore.training.telemetry import RowLog
from mricore.training.watch import Watch, waits_for_room

ROW = {"loss/total": 4.5, "progress/slices_per_s": 160.0, "health/flat": 1.0}
TIMES = {"time/step_s": 0.15, "time/data_wait_s": 0.05, "time/communication_s": 0.1}


def report(step):
    """Ten steps of 32 slices, as the first worker hands them over."""
    rows = [{"step": float(number), "loss/total": 5.0} for number in range(step - 9, step)]
    return {"rows": [*rows, {"step": float(step), **ROW, **TIMES}], "step": step, "total": 50}


def exported(run, name, wanted):
    """Value of a metric of a run, once the node exports it with the label ``run``."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    end = time.monotonic() + 40
    found = None
    while found != pytest.approx(wanted) and time.monotonic() < end:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        values = re.findall(rf'^ray_{name}\{{[^}}]*run="{run}"[^}}]*\}} (\S+)$', text, re.MULTILINE)
        found = float(values[0]) if values else None
        time.sleep(0.5)
    return found


@pytest.mark.servers
def test_prometheus_sees_a_run_as_its_controller_does(tmp_path, ray_cluster):
    where = Home(place(str(tmp_path / "out")), f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracked = telemetry.start_run(where, "test", "r", {}, {})
    log = RowLog(tracked, place(str(tmp_path / "run")), tmp_path / "waiting.json")
    begin = time.time()
    # in a process of its own, like Ray Train's controller
    watch = ray.remote(num_cpus=0)(Watch).remote(log, tmp_path / "status.json", "tiny-0123")
    other = {"rows": [], "step": 0, "total": 50}
    ray.get(watch.after_report.remote(None, [report(10), other], None))
    ray.get(watch.after_report.remote(None, [report(20), other], "a checkpoint"))
    ray.get(watch.after_exception.remote(None, {1: ValueError()}))
    ray.get(watch.after_report.remote(None, [report(30)], None))
    for name, wanted in (
        ("mricore_step", 30),
        ("mricore_steps_total", 50),
        ("mricore_workers", 1),
        ("mricore_loss", 4.5),
        ("mricore_slices_per_second", 160),
        ("mricore_data_wait_share", 0.25),
        ("mricore_signs_of_illness", 1),
        ("mricore_slices_total", 960),
        ("mricore_failures_total", 1),
        ("mricore_unlogged_steps", 0),
    ):
        assert exported("tiny-0123", name, wanted) == pytest.approx(wanted), name
    for name in ("mricore_report_timestamp_seconds", "mricore_checkpoint_timestamp_seconds"):
        assert begin - 1 < exported("tiny-0123", name, begin) < time.time() + 1


@pytest.mark.servers
def test_workers_without_room_are_seen_to_wait(ray_cluster):
    assert not waits_for_room(workers=2)
    group = placement_group([{"CPU": 2.0}, {"CPU": 2.0}])  # the cluster has 2
    try:
        end = time.monotonic() + 20
        while not waits_for_room(workers=2) and time.monotonic() < end:
            time.sleep(0.1)
        assert waits_for_room(workers=2)
        assert not waits_for_room(workers=1)
    finally:
        remove_placement_group(group)
