"""Ray Tune without its own tables, hints and logs: studies and searches tell and store what they came to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a table and hints however low the verbosity is
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # files for TensorBoard and CSV with the names of machines
}


@contextmanager
def quiet_tune() -> Iterator[None]:
    """For the time of the body; what the environment has set stays."""
    fresh = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        for name in fresh:
            os.environ.pop(name, None)
