"""A source cut into chunks of files: the unit of reading headers, and of remembering what was read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mricore.data.storage import StoredFile

MEAN_FILES = 96
MOST_FILES = 256


@dataclass(frozen=True, repr=False)
class Chunk:
    """Neighbouring files of a source, and a keyed digest of their names, sizes and times."""

    key: str
    files: tuple[StoredFile, ...]


def chunks(files: Iterable[StoredFile], secret: bytes, rules: str) -> Iterator[Chunk]:
    """Cut a listing where the names of its files say so, not at every so many files.

    A file that is new then changes the chunk around it and no other, so that all others are known from the
    last time. ``rules`` is part of the keys: what is read from headers depends on them.
    """
    waiting: list[StoredFile] = []
    for file in files:
        waiting.append(file)
        if _ends_chunk(file) or len(waiting) == MOST_FILES:
            yield _chunk(waiting, secret, rules)
            waiting = []
    if waiting:
        yield _chunk(waiting, secret, rules)


def _ends_chunk(file: StoredFile) -> bool:
    digest = hashlib.blake2b(_encoded(file.path), digest_size=4).digest()
    return int.from_bytes(digest) % MEAN_FILES == 0


def _chunk(files: list[StoredFile], secret: bytes, rules: str) -> Chunk:
    state = hmac.new(secret, rules.encode(), hashlib.sha256)
    for file in files:
        state.update(_encoded(f"{file.path}\0{file.size}\0{file.modified_ns}\n"))
    return Chunk(state.hexdigest()[:32], tuple(files))


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")  # names may be anything
