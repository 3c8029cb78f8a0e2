"""Silence around pydicom, nibabel and the codecs.

They quote the values of a file in their warnings and log records, and an identifier among them must reach
neither. Whatever hands them bytes of a file runs inside ``quiet``.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_LOGGERS = ("pydicom", "nibabel.global", "pylibjpeg", "openjpeg", "jpeg_ls", "PIL")
_SILENT = logging.CRITICAL + 1


class _Silence:
    """Warnings and loggers are process-wide: the first reader silences them, the last one restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._restore = ExitStack()

    def begin(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers > 1:
                return
            self._restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            for logger in map(logging.getLogger, _LOGGERS):
                self._restore.callback(logger.setLevel, logger.level)
                logger.setLevel(_SILENT)

    def end(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._restore.close()


_silence = _Silence()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and logs; several threads may read at once."""
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()
