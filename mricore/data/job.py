"""What a curation works with, and what must hold before it begins."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mricore.config.curation import Curation
from mricore.data.choice import Table
from mricore.data.chunks import Chunk, chunks
from mricore.data.index import reading_rules
from mricore.data.storage import Place
from mricore.data.target import Target
from mricore.errors import UserError
from mricore.imaging.pseudonyms import Pseudonymizer


@dataclass(frozen=True, repr=False)
class Job:
    """Source, destination, policy, key; ``table`` maps the exams of a hospital's table to protocols."""

    source: Place
    destination: Place
    policy: Curation
    key: bytes
    table: Table | None = None
    generated_phantoms: bool = False

    @property
    def pseudonymizer(self) -> Pseudonymizer:
        """Pseudonyms under the job's key."""
        return Pseudonymizer(self.key)

    @property
    def target(self) -> Target:
        """Where the job's slices go, and by which rules."""
        return Target(self.destination, self.policy, self.key, self.generated_phantoms)

    def chunks(self) -> Iterator[Chunk]:
        """The source in chunks of files."""
        rules = f"{self.source.uri}\n{reading_rules(self.policy)}"
        return chunks(self.source.walk(), self.key, rules)

    def fingerprint(self, keys: Iterable[str]) -> str:
        """Keyed digest of the source, from the keys of its chunks, and of the exams that are wanted."""
        state = hmac.new(self.key, b"source", hashlib.sha256)
        for key in keys:
            state.update(key.encode())
        for entry in sorted((self.table or {}).items()):
            state.update(repr(entry).encode())
        return state.hexdigest()


def refuse_overlap(source: Place, destination: Place) -> None:
    """Make sure that neither place lies in the other.

    Raises:
        UserError: one does.
    """
    one, other = f"{source.uri}/", f"{destination.uri}/"
    if one.startswith(other) or other.startswith(one):
        raise UserError("source and destination overlap", "give a destination outside the source folder")
