"""When a checkpoint is due: after some time, and so seldom that saving costs a small share of the time."""

from __future__ import annotations

import math
import time


class SaveInterval:
    """The first worker's clock of checkpoints.

    ``least`` seconds lie between two checkpoints, or more where the last one kept the training from its work
    for longer than ``share`` of that.
    """

    def __init__(self, least: float, share: float) -> None:
        self.least, self.share = least, share
        self.seconds = least
        self._last = time.monotonic()

    def is_over(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._last >= self.seconds

    def saved(self, cost: float) -> None:
        """A checkpoint was handed over, which took ``cost`` seconds of the training."""
        self.seconds = max(self.least, cost / self.share)
        self._last = time.monotonic()

    def end(self) -> None:
        """The next report saves."""
        self._last = -math.inf
