"""Ray Tune's ASHA that asks a trial to end, instead of ending its process.

Where Tune ends the process of a trial, the placement group of its training stays behind on clusters without
Ray's dashboard, and the next trial waits for its CPUs for ever. A trial that ends by itself leaves nothing.
"""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from mricore.config.search import Halving
from mricore.data.storage import Place

PERCENT = "percent"
"""How much of its training a trial has done, as it reports it."""
WHOLE = 100.0
STOP = "stop"
"""A file of this name in a trial's folder asks it to end."""


def trial_folder(folder: Place, number: int) -> Place:
    """What is known of a trial, in the folder of a search."""
    return Place(folder.joined(f"trials/{number:04d}"))


class EndsItself(ASHAScheduler):
    """Decides as ASHA does; the decision is a file that the training looks for."""

    def __init__(self, halving: Halving, folder: Place) -> None:
        super().__init__(
            time_attr=PERCENT,
            max_t=WHOLE,
            grace_period=WHOLE * halving.grace,
            reduction_factor=halving.reduction,
        )
        self._folder = folder

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ask a trial to end that is worse than the others; for Tune it goes on until it has."""
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP and result[PERCENT] < WHOLE:
            trial_folder(self._folder, trial.config["number"]).write_bytes(STOP, b"")
        return TrialScheduler.CONTINUE
