"""What a curation works with, and what must hold before it begins."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mricore.config.curation import Curation
from mricore.data.choice import Table
from mricore.data.chunks import Chunk, chunks
from mricore.data.index import reading_rules
from mricore.data.manifest import Manifest
from mricore.data.storage import Place
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
    def key_check(self) -> str:
        """Tells whether two keys are one, without telling the key."""
        return hmac.new(self.key, b"which key", hashlib.sha256).hexdigest()[:16]

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


def refuse_overlap(job: Job) -> None:
    """Make sure that neither place lies in the other.

    Raises:
        UserError: one does.
    """
    source, destination = f"{job.source.uri}/", f"{job.destination.uri}/"
    if source.startswith(destination) or destination.startswith(source):
        raise UserError("source and destination overlap", "give a destination outside the source folder")


def require_same_rules(job: Job, manifest: Manifest) -> None:
    """Make sure that the job may add to a dataset.

    Raises:
        UserError: the dataset was made under another policy or with another key.
    """
    if manifest.key_check != job.key_check:
        raise UserError(
            f"{job.destination.uri} holds a dataset whose pseudonyms have another key",
            "give its key with --key, or another destination",
        )
    changed = _changed(manifest.provenance["policy"], job.policy.model_dump(mode="json"))
    if changed:
        raise UserError(
            f"{job.destination.uri} holds a dataset made under another policy ({', '.join(changed)} differ)",
            "give an empty destination, or remove that dataset",
        )


def _changed(made: Mapping[str, object], asked: Mapping[str, object]) -> list[str]:
    return [name for name in asked if made.get(name) != asked[name]]
