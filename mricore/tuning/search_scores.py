"""Scores of a training on their way to the search, and the request to end on its way back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from ray.train import UserCallback

from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training.checkpoint import Row
from mricore.tuning.search_halving import STOP

LOOK_SECONDS = 0.5

Score = tuple[int, float]
"""A step, and how good the encoder was then."""


class StoppedError(UserError):
    """The search asked this training to end, as others were better."""

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        """It stays what it is when it crosses a process boundary."""
        return (StoppedError, (self.problem, self.remedy))


def stopped() -> StoppedError:
    """What ends a training that the search does not want to see the end of."""
    return StoppedError("the search stopped this training", "it can go on with jobs/pretrain.py")


class Scores(UserCallback):
    """Runs in Ray Train's controller: writes scores to ``file``, and ends the training if it is asked to.

    The controller is on the node of the trial that started it (Ray Train sees to that), so they share files.
    Ended from here, the training gives its workers' places back before the trial ends.
    """

    def __init__(self, metric: str, file: Path, trial: Place) -> None:
        self.metric, self.file, self.trial = metric, file, trial

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Take the rows of the first worker.

        Raises:
            StoppedError: the search asked for it.
        """
        found = scores_in(metrics[0]["rows"], self.metric)
        if found:
            with self.file.open("a") as stream:
                stream.writelines(json.dumps(one) + "\n" for one in found)
        if metrics[0]["step"] < metrics[0]["total"] and self.trial.exists(STOP):
            raise stopped()


def scores_in(rows: Sequence[Row], metric: str) -> list[Score]:
    """The scores among metric rows, by step."""
    return [(int(row["step"]), row[metric]) for row in rows if metric in row]


def followed(file: Path, training: Future[Any]) -> Iterator[Score]:
    """Scores as ``Scores`` writes them, until the training has ended and all are told."""
    told = 0
    while True:
        over = training.done()  # looked at before the file, so that nothing after it is missed
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        for line in whole[told:]:
            step, score = json.loads(line)
            yield step, score
        told = len(whole)
        if over:
            return
        wait([training], LOOK_SECONDS)
