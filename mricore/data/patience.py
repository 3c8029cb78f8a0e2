"""Waiting out an outage of an object store: the one place where reads and writes are tried again."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
OUTAGE_SECONDS = 60.0
"""An outage of this length is waited out: a server that restarts, a proxy that fails over."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
_PASSING = (
    *("NETWORK_CONNECTION", "SLOW_DOWN", "SERVICE_UNAVAILABLE", "INTERNAL_FAILURE", "THROTTLING"),
    *("REQUEST_TIMEOUT", "HTTP status 500", "HTTP status 502", "HTTP status 503", "HTTP status 504"),
)
"""What pyarrow writes into errors that are the server's and may pass."""


class OutageError(OSError):
    """A store that could not be used for so many seconds; says why, as the last attempt did."""

    def __init__(self, why: str, seconds: float) -> None:
        """Remember how long it was tried."""
        super().__init__(why)
        self.seconds = seconds


def outlast(attempt: Callable[[], Result]) -> Result:
    """Result of ``attempt``, which is made again, after ever longer pauses, while an outage lasts.

    The attempt must do the same when it is made twice. Pauses vary, so that workers do not come all at once.

    Raises:
        OutageError: the outage took longer than ``OUTAGE_SECONDS``.
        OSError: the attempt raised it, and would raise it again: no such object, no permission, a local disk.
    """
    pause, end = FIRST_PAUSE, time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return attempt()
        except OSError as error:
            if not is_passing(error):
                raise
            if time.monotonic() >= end:
                raise OutageError(str(error), OUTAGE_SECONDS) from None
        if pause == FIRST_PAUSE:
            logger.warning("the object store cannot be used; trying again for %.0f s", OUTAGE_SECONDS)
        time.sleep(min(pause * random.SystemRandom().uniform(0.5, 1), max(end - time.monotonic(), 0)))
        pause = min(2 * pause, LONGEST_PAUSE)


def is_passing(error: OSError) -> bool:
    """Whether an error is one of an object store's that may pass by itself."""
    text = str(error)
    return "AWS" in text and any(sign in text for sign in _PASSING)
