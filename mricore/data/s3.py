"""S3: reads and writes by pyarrow through one client per process, listings page by page by boto3.

Reads and writes wait out an outage (``patience``).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

import boto3
import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError
from pyarrow import fs

from mricore.data.patience import outlast

Settings = tuple[tuple[str, str], ...]
READ_BYTES = 64 * 1024
"""Each read of an object is a request; headers are read in small pieces and fit in one or two of these."""


def client() -> fs.FileSystem:
    """Credentials by the AWS rules; the endpoint explicitly, as pyarrow reads that variable only once.

    Kept for as long as those variables stay the same: making one takes 20 ms.
    """
    return _client(_settings())


def _settings() -> Settings:
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


def _endpoint(settings: Settings) -> str | None:
    known = dict(settings)
    return known.get("AWS_ENDPOINT_URL_S3") or known.get("AWS_ENDPOINT_URL")


@lru_cache(maxsize=4)
def _lister(settings: Settings) -> Any:
    known = dict(settings)
    region = known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION")
    return boto3.session.Session().client("s3", endpoint_url=_endpoint(settings), region_name=region)


def _code(error: ClientError | BotoCoreError) -> str:
    """The name of an error as pyarrow writes it: NO_SUCH_BUCKET for NoSuchBucket."""
    if isinstance(error, ClientError):
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", error.response["Error"]["Code"]).upper()
    return f"NETWORK_CONNECTION {type(error).__name__}"


@lru_cache(maxsize=4)
def _client(settings: Settings) -> fs.FileSystem:
    endpoint = _endpoint(settings)
    return fs.S3FileSystem(endpoint_override=endpoint) if endpoint else fs.S3FileSystem()


def listing(path: str) -> Iterator[tuple[str, int, int]]:
    """Name below ``path`` (bucket/prefix), size and modification time in ns of each object, in S3's order.

    pyarrow would hold the whole list in memory.

    Raises:
        OSError: the bucket cannot be listed.
    """
    bucket, _, prefix = path.partition("/")
    prefix = f"{prefix}/" if prefix else ""
    try:
        pages = _lister(_settings()).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):  # some tools mark folders by empty objects
                    modified = int(entry["LastModified"].timestamp() * 1e9)
                    yield entry["Key"].removeprefix(prefix), entry["Size"], modified
    except (ClientError, BotoCoreError) as error:
        raise OSError(f"AWS {_code(error)}") from None


@contextmanager
def reading(path: str) -> Iterator[BinaryIO]:
    """Open an object for random-access reading."""
    opened = outlast(lambda: client().open_input_file(path))
    with opened as stream, io.BufferedReader(_Raw(stream), READ_BYTES) as file:
        yield file


def put(path: str, content: bytes) -> None:
    """Write an object, which appears when its upload completes."""

    def upload() -> None:
        with client().open_output_stream(path) as stream:
            stream.write(content)

    outlast(upload)


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
        content = outlast(lambda: self._stream.read(len(buffer)))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())
