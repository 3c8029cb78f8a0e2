"""Storage that waits for a server which is away, instead of failing after two seconds."""

from __future__ import annotations

from typing import Any

from pyarrow import fs

ATTEMPTS = 11
"""Of each request; pauses between them grow to 20 s, so a server that refuses connections is waited for about
a minute."""


class PatientS3(fs.S3FileSystem):
    """pyarrow's client, which keeps its patience when it travels to another process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS))

    def __reduce__(self) -> tuple[Any, ...]:
        return _client, (_options(self),)


def patient(file_system: fs.FileSystem) -> fs.FileSystem:
    """The same file system; one in an object store with patience."""
    return PatientS3(**_options(file_system)) if isinstance(file_system, fs.S3FileSystem) else file_system


def _client(options: dict[str, Any]) -> PatientS3:
    return PatientS3(**options)


def _options(client: fs.S3FileSystem) -> dict[str, Any]:
    """The arguments that the client was made with, which is what pyarrow pickles."""
    return dict(fs.S3FileSystem.__reduce__(client)[1][0])
