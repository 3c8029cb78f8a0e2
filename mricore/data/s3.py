"""S3 by pyarrow: one client per process, reads through a buffer."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import fs

READ_BYTES = 64 * 1024
"""Each read of an object is a request; headers are read in small pieces and fit in one or two of these."""


def client() -> fs.FileSystem:
    """Credentials by the AWS rules; the endpoint explicitly, as pyarrow reads that variable only once.

    Kept for as long as those variables stay the same: making one takes 20 ms.
    """
    settings = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    return _client(settings)


@lru_cache(maxsize=4)
def _client(settings: tuple[tuple[str, str], ...]) -> fs.FileSystem:
    known = dict(settings)
    endpoint = known.get("AWS_ENDPOINT_URL_S3") or known.get("AWS_ENDPOINT_URL")
    return fs.S3FileSystem(endpoint_override=endpoint) if endpoint else fs.S3FileSystem()


@contextmanager
def reading(path: str) -> Iterator[BinaryIO]:
    """Open an object for random-access reading."""
    with client().open_input_file(path) as stream, io.BufferedReader(_Raw(stream), READ_BYTES) as file:
        yield file


def put(path: str, content: bytes) -> None:
    """Write an object, which appears when its upload completes."""
    with client().open_output_stream(path) as stream:
        stream.write(content)


class _Raw(io.RawIOBase):
    """An object as Python's buffered reader wants it; pydicom also asks such a reader for a name."""

    name = ""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())
