"""One line of progress for long work: what, how many, how fast, how long yet."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO


def duration(seconds: float) -> str:
    """Seconds as people write them: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass
class Progress:
    """Prints ``label: done/total unit, rate, ETA`` at most every ``interval`` seconds, and at the end.

    ``total`` is None while nobody knows it; ``finish`` then tells the end.
    """

    label: str
    total: int | None
    unit: str
    interval: float = 2.0
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _started: float = field(default_factory=time.monotonic, init=False)
    _printed: float = field(default=0.0, init=False)

    def update(self, done: int, extra: str = "") -> None:
        """Tell how many units are done; ``extra`` is appended."""
        now = time.monotonic()
        ended = self.total is not None and done >= self.total
        if ended or now - self._printed >= self.interval:
            self._printed = now
            self._print(done, extra, ended)

    def finish(self, done: int) -> None:
        """Tell that these were all units."""
        self.total = done
        self._print(done, "", ended=True)

    def _print(self, done: int, extra: str, ended: bool) -> None:
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = done / elapsed
        timing = f"in {duration(elapsed)}" if ended else self._remaining(done, rate)
        amount = f"{done:,}" if self.total is None else f"{done:,}/{self.total:,}"
        parts = [f"{amount} {self.unit}", f"{rate:,.1f}/s", timing, extra]
        print(f"{self.label}: " + ", ".join(part for part in parts if part), file=self.stream, flush=True)

    def _remaining(self, done: int, rate: float) -> str:
        if self.total is None:
            return ""
        return f"ETA {duration((self.total - done) / rate)}" if rate else "ETA unknown"
