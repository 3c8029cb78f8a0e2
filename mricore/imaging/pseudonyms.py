"""Keyed pseudonyms, and the file of the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal

from mricore.errors import UserError

Kind = Literal["exam", "key", "patient", "protocol", "series", "slice", "stack", "volume"]
KEY_BYTES = 32
PSEUDONYM_CHARACTERS = 20


class Pseudonymizer:
    """Turns identifiers into pseudonyms with HMAC-SHA256; without the key they cannot be recomputed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Pseudonymizer(key withheld)"

    def pseudonym(self, kind: Kind, *parts: str) -> str:
        """20 hexadecimal characters for an identifier; the same identifier of another kind differs."""
        return self._digest(kind, *parts).hex()[:PSEUDONYM_CHARACTERS]

    def exam_key(self, identifier: str) -> str:
        """The pseudonym by which a table finds an exam, of its accession number or study instance UID."""
        return self.pseudonym("key", identifier)

    def order(self, text: str) -> bytes:
        """A key for sorting that looks random and is always the same."""
        return self._digest("order", text)

    def _digest(self, *parts: str) -> bytes:
        """HMAC of the parts, each led by its length, so that no two lists of parts read alike."""
        state = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            content = part.encode("utf-8", "surrogatepass")
            state.update(len(content).to_bytes(8, "big") + content)
        return state.digest()


def load_or_create_key(path: Path) -> bytes:
    """The secret key in ``path``, 32 bytes in hexadecimal; made on first use, readable by its owner only.

    Raises:
        UserError: the file is not a key, or cannot be made.
    """
    path = path.expanduser()
    try:
        if not path.exists():
            _create_key(path)
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a usable key ({type(error).__name__})", "give another file with --key"
        ) from None
    if len(key) != KEY_BYTES:
        raise UserError(f"{path} is not a key of {KEY_BYTES} bytes", "give another file with --key")
    return key


def _create_key(path: Path) -> None:
    """Write a new key so that two processes that begin at once end with the same one."""
    _make_private_folders(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
        with suppress(FileExistsError):  # the other process was first: its key counts
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_private_folders(folder: Path) -> None:
    """Like ``mkdir(parents=True)``, which would give the parents the default mode."""
    if not folder.exists():
        _make_private_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
