"""Figures of a run for Prometheus and Ray's dashboard, exported by the node that the controller is on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from mricore.training.status import Status

GAUGES = {
    "mricore_step": "Optimisation steps done.",
    "mricore_steps_total": "Optimisation steps of the whole run.",
    "mricore_workers": "Workers that train.",
    "mricore_loss": "Total loss of the last step.",
    "mricore_slices_per_second": "Slices per second of all workers, as a mean of the last minutes.",
    "mricore_data_wait_share": "Share of its time that the first worker waits for data.",
    "mricore_signs_of_illness": "How many signs of illness the last report showed.",
    "mricore_report_timestamp_seconds": "When the last report came, in seconds since 1970.",
    "mricore_checkpoint_timestamp_seconds": "When the last checkpoint was complete, in seconds since 1970.",
    "mricore_unlogged_steps": "Steps whose metrics MLflow has not got although it was tried.",
}
COUNTERS = {
    "mricore_slices": "Slices trained on, replayed ones counted again.",
    "mricore_failures": "How often workers failed.",
}
TAGS = ("run",)


class Dashboard:
    """Sets the figures of one run, which are tagged with its name; lives in the controller.

    Ages are told as points in time: a run that hangs sets nothing any more, and its age must still grow
    (``time() - mricore_checkpoint_timestamp_seconds``). Ray adds its prefix "ray_" and to counters "_total".
    """

    def __init__(self, run: str) -> None:
        self._gauges = {name: Gauge(name, text, TAGS) for name, text in GAUGES.items()}
        self._counters = {name: Counter(name, text, TAGS) for name, text in COUNTERS.items()}
        metrics: list[Any] = [*self._gauges.values(), *self._counters.values()]
        for metric in metrics:
            metric.set_default_tags({"run": run})

    def report(self, status: Status, slices: float, saved: bool) -> None:
        """A report came: of so many slices, with or without a checkpoint."""
        now = time.time()
        values = {
            "mricore_step": float(status.step),
            "mricore_steps_total": float(status.total),
            "mricore_workers": float(status.workers),
            "mricore_loss": status.loss,
            "mricore_slices_per_second": status.slices_per_s,
            "mricore_data_wait_share": status.data_wait_share,
            "mricore_signs_of_illness": float(len(status.signs)),
            "mricore_report_timestamp_seconds": now,
            "mricore_unlogged_steps": float(status.unlogged),
        }
        self._set(values | ({"mricore_checkpoint_timestamp_seconds": now} if saved else {}))
        if slices > 0:
            self._counters["mricore_slices"].inc(slices)

    def failure(self) -> None:
        """Workers failed."""
        self._counters["mricore_failures"].inc()

    def _set(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if value == value:  # not NaN
                self._gauges[name].set(value)
