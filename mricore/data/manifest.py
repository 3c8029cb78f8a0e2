"""The manifest: what a curated dataset contains, where it came from, and what was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from mricore.data.shards import RowGroups, Shard
from mricore.data.storage import Place
from mricore.errors import UserError

MANIFEST = "manifest.json"
FORMAT = 3
INCOMPLETE = "incomplete"
"""The fingerprint of a source of which a file could not be had: it is read once more the next time."""


@dataclass(frozen=True)
class Round:
    """One curation into the dataset: from what, what remained after each step, what was left out.

    ``source_fingerprint`` is a keyed digest of the source's file list, so it tells whether the source
    changed without telling any file name. ``slices`` is how many this round added.
    """

    source_fingerprint: str
    slices: int
    funnel: tuple[Mapping[str, Any], ...]
    rejected: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Manifest:
    """A dataset's table of contents, written last: a folder without it is not a dataset.

    ``counts`` has slices, volumes, exams, patients; ``distributions`` maps an attribute (location,
    sequence, plane, vendor, field_strength) to slices per value (paper Fig. 1b); ``repeats`` counts volumes
    and slices that repeat others; ``rounds`` are the curations into it, the latest last; ``ledger`` and
    ``dropped`` name the files that say which slices were taken up, and which of these were dropped as
    repeats; ``key_check`` tells whether a key is the one of the pseudonyms, without telling the key.
    """

    shards: tuple[Shard, ...]
    counts: Mapping[str, int]
    distributions: Mapping[str, Mapping[str, int]]
    repeats: Mapping[str, int]
    rounds: tuple[Round, ...]
    ledger: tuple[str, ...]
    dropped: tuple[str, ...]
    key_check: str
    generated_phantoms: bool
    provenance: Mapping[str, Any]

    @property
    def funnel(self) -> tuple[Mapping[str, Any], ...]:
        """The steps of the latest curation."""
        return self.rounds[-1].funnel if self.rounds else ()

    @property
    def rejected(self) -> tuple[Mapping[str, Any], ...]:
        """What the latest curation left out."""
        return self.rounds[-1].rejected if self.rounds else ()

    @property
    def digest(self) -> str:
        """SHA-256 over the shards' digests: two datasets with it have the same slices in the same order.

        Names of shards do not count, as they tell from which files of an archive their slices came.
        """
        text = json.dumps([[shard.row_groups, shard.bytes, shard.sha256] for shard in self.shards])
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """The content of the file ``manifest.json``."""
        document = {"format": FORMAT, "digest": self.digest, **asdict(self)}
        return json.dumps(document, indent=1, sort_keys=True) + "\n"

    @cached_property
    def row_groups(self) -> RowGroups:
        """All row groups, in manifest order."""
        return RowGroups(self.shards)


def write_manifest(dataset: Place, manifest: Manifest) -> None:
    """Write the manifest; this is what makes the folder a dataset."""
    dataset.write_bytes(MANIFEST, manifest.to_json().encode())


def has_manifest(dataset: Place) -> bool:
    """Whether the place is a curated dataset."""
    return dataset.exists(MANIFEST)


def read_manifest(dataset: Place) -> Manifest:
    """Read and check a manifest.

    Raises:
        UserError: it is missing, damaged, of another format, or its list of shards is not the one written.
    """
    try:
        document = json.loads(dataset.read_bytes(MANIFEST))
        if document.pop("format") != FORMAT:
            raise UserError(
                f"{dataset.joined(MANIFEST)} has another format", f"curate again with this version ({FORMAT})"
            )
        digest = document.pop("digest")
        shards = tuple(
            Shard(**{**item, "row_groups": tuple(item["row_groups"])}) for item in document.pop("shards")
        )
        rounds = tuple(_round(item) for item in document.pop("rounds"))
        for table in ("ledger", "dropped"):
            document[table] = tuple(document[table])
        manifest = Manifest(shards=shards, rounds=rounds, **document)
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{dataset.joined(MANIFEST)} is damaged", "curate into a new destination") from None
    if manifest.digest != digest:
        raise UserError(
            f"{dataset.joined(MANIFEST)} does not match its digest", "curate into a new destination"
        )
    return manifest


def _round(item: dict[str, Any]) -> Round:
    return Round(**{**item, "funnel": tuple(item["funnel"]), "rejected": tuple(item["rejected"])})
