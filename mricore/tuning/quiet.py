"""Ray Tune without its own tables and hints: studies and searches tell what came of them and how to go on."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OUTPUT = "RAY_AIR_NEW_OUTPUT"
"""Tune's new output prints a table and a TensorBoard command whatever ``verbose`` is; its old does not."""


@contextmanager
def quiet_tune() -> Iterator[None]:
    """For the time of the body; what the environment has set stays, and so does what signals do.

    Tune leaves its handlers in place: the first ctrl-C after it would be told as the end of a Tune run, and
    do nothing else.
    """
    logger, before = logging.getLogger("ray.tune"), os.environ.get(NEW_OUTPUT)
    level = logger.level
    logger.setLevel(logging.ERROR)  # after ctrl-C it tells of Tuner.restore, which is not how to go on
    os.environ.setdefault(NEW_OUTPUT, "0")
    in_main = threading.current_thread() is threading.main_thread()  # elsewhere Tune sets no handlers
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGUSR1)} if in_main else {}
    try:
        yield
    finally:
        for one, handler in handlers.items():
            if handler is not None:  # it was not set from Python, and cannot be
                signal.signal(one, handler)
        logger.setLevel(level)
        if before is None:
            del os.environ[NEW_OUTPUT]
