"""Ray Tune without its own tables and hints: studies and searches tell what came of them and how to go on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OUTPUT = "RAY_AIR_NEW_OUTPUT"
"""Tune's new output prints a table and a TensorBoard command whatever ``verbose`` is; its old does not."""


@contextmanager
def quiet_tune() -> Iterator[None]:
    """For the time of the body; what the environment has set stays."""
    logger, before = logging.getLogger("ray.tune"), os.environ.get(NEW_OUTPUT)
    level = logger.level
    logger.setLevel(logging.ERROR)  # after ctrl-C it tells of Tuner.restore, which is not how to go on
    os.environ.setdefault(NEW_OUTPUT, "0")
    try:
        yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ[NEW_OUTPUT]
