"""What a user sees of a training: a line now and then, and never a long silence."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mricore.data.progress import duration
from mricore.training.status import Status

Tell = Callable[[str], None]
"""What takes a line of a training."""
LOOK_EVERY = 0.5
"""Seconds between two looks at the status."""
SHORTEST, LONGEST = 3.0, 60.0
"""Seconds between two lines of progress, at the beginning and in a long run."""
SILENCE = 15.0
"""Seconds of nothing after which it is said what is waited for."""


def to_terminal(line: str) -> None:
    """Where the lines of a training go that runs alone."""
    print(f"training: {line}", flush=True)


@contextmanager
def progress_lines(
    path: Path, workers: int, epochs: int, pending: Callable[[], bool], tell: Tell
) -> Iterator[None]:
    """Tell what the status file says while the body runs; ``pending`` as for ``Narrator``."""
    done = threading.Event()
    narrator = Narrator(workers, epochs, time.monotonic(), pending)
    thread = threading.Thread(target=_follow, args=(path, narrator, done, tell), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(path: Path, narrator: Narrator, done: threading.Event, tell: Tell) -> None:
    ended = False
    while not ended:
        ended = done.wait(LOOK_EVERY)
        for line in narrator.lines(Status.read(path), time.monotonic(), ended):
            tell(line)


@dataclass
class Narrator:
    """Turns one status after the other into lines; time is given, in seconds."""

    workers: int
    epochs: int
    began: float
    pending: Callable[[], bool] = lambda: False
    """Whether workers that start still wait for a place in the cluster."""
    _seen: Status = field(default_factory=Status)
    _told: float = -math.inf
    _told_step: int = 0
    _moved: float = 0.0
    _starting: bool = True

    def __post_init__(self) -> None:
        self._moved = self.began

    def lines(self, status: Status, now: float, ended: bool = False) -> list[str]:
        """What is new in a status, or that nothing is; at the end the last step is told in any case."""
        before, self._seen = self._seen, status
        lines = [*self._troubles(before, status), *self._progress(before, status, now, ended)]
        if not lines and not ended:
            lines = self._waiting(now)
        if lines:
            self._told = now
        return lines

    def _troubles(self, before: Status, status: Status) -> list[str]:
        lines = []
        if status.failures > before.failures:
            self._starting = True
            saved = status.checkpoint_step
            back = f"the last checkpoint is of step {saved:,}" if saved else "no new checkpoint yet"
            lines.append(f"{status.failure} after step {status.step:,}; {back}")
        if status.tracking and not before.tracking:
            lines.append(f"{status.tracking}; training goes on, its metrics are kept and logged later")
        if before.tracking and not status.tracking:
            lines.append("MLflow works again and has all metrics")
        return lines

    def _progress(self, before: Status, status: Status, now: float, ended: bool) -> list[str]:
        lines = []
        if status.step != before.step:
            self._moved = now
            if self._starting or status.workers != before.workers:
                lines.append(f"{_number(status.workers, 'worker')} at work")
            self._starting = False
        interval = min(max((now - self.began) / 20, SHORTEST), LONGEST)
        due = bool(lines) or ended or now - self._told >= interval or status.signs != before.signs
        if due and status.step != self._told_step:
            self._told_step = status.step
            lines.append(self._step(status))
        return lines

    def _waiting(self, now: float) -> list[str]:
        if now - max(self._told, self._moved) < SILENCE and self._told > -math.inf:
            return []
        waited = now - self._moved
        if self._starting:
            what = "waiting for free CPUs or GPUs" if self.pending() else "processes, weights, first batches"
            since = f" ({duration(waited)} so far)" if waited >= 1 else ""
            return [f"starting {_number(self.workers, 'worker')}: {what}{since}"]
        if waited < max(SILENCE, 5 * self._seen.seconds_per_step):
            return []
        return [
            f"no report for {duration(waited)}, the last was of step {self._seen.step:,}; a slow step, data "
            "that is waited for, or a checkpoint on its way to storage"
        ]

    def _step(self, status: Status) -> str:
        epoch = max(1, math.ceil(status.step * self.epochs / status.total))
        left = (status.total - status.step) * status.seconds_per_step
        parts = [
            f"step {status.step:,}/{status.total:,}",
            f"epoch {epoch}/{self.epochs}",
            f"loss {status.loss:.3f}",
        ]
        if math.isfinite(left):
            parts.append(f"{status.slices_per_s:,.1f} slices/s")
            parts.append(f"{status.data_wait_share:.0%} of the time waiting for data")
            parts.append(f"ETA {duration(left)}" if left else "done")
        if status.signs:
            parts.append(f"signs of illness: {', '.join(status.signs)}")
        return ", ".join(parts)


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
