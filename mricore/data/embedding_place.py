"""A place with the embeddings of a dataset: what it is for, what is missing, what is in it.

``identity.json`` is written first and tells what is embedded with what; the files of ``parts/`` come in any
order; ``manifest.json`` is written last, so that a place with one is complete.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from mricore.data.embedding_parts import (
    DESCRIBING,
    PARTS,
    PATCHES,
    VECTOR,
    Identity,
    is_whole,
    part_path,
    read_part,
)
from mricore.data.manifest import MANIFEST, Manifest
from mricore.data.shards import Shard
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.revision import code_revision

FORMAT = "mricore-embeddings-1"
IDENTITY = "identity.json"
_CHANGED = {
    "weights": "another encoder",
    "dataset": "another dataset",
    "image_size": "another --size",
    "grid": "other patches, or of none",
    "dtype": "another embed.dtype",
    "precision": "another embed.precision",
}
"""How a place is told that is for other embeddings, by what differs."""
_LOOKERS = 16
"""Parts that are looked into at once, which hides the delays of S3."""


def claim(out: Place, identity: Identity) -> None:
    """Make the place one for these embeddings, if it is not yet.

    Raises:
        UserError: it holds others, or something else.
    """
    if not out.exists(IDENTITY):
        if out.exists(MANIFEST):
            raise UserError(f"{out.uri} holds something else", "give another --out")
        document = {"format": FORMAT, "digest": identity.digest, **asdict(identity)}
        out.write_bytes(IDENTITY, _json(document))
        return
    held = _document(out, IDENTITY)
    asked = {**asdict(identity), "grid": list(identity.grid)}
    changed = [name for name in asked if name != "model" and held.get(name) != asked[name]]
    if changed:
        what = ", ".join(_CHANGED.get(name, f"another {name}") for name in changed)
        raise UserError(f"{out.uri} holds embeddings of {what}", "give another --out, or remove them")


def missing_parts(out: Place, shards: Sequence[Shard], identity: Identity) -> list[int]:
    """Numbers of the shards whose part is not there, or is not whole, in their order.

    Raises:
        UserError: ``out`` cannot be read.
    """
    there = set(out.names(PARTS))
    found = [number for number, shard in enumerate(shards) if part_path(shard) in there]
    with ThreadPoolExecutor(_LOOKERS) as pool:
        whole = pool.map(lambda number: is_whole(out, shards[number], identity), found)
        done = {number for number, good in zip(found, whole, strict=True) if good}
    return [number for number in range(len(shards)) if number not in done]


def is_complete(out: Place) -> bool:
    """Whether all parts were written and listed; of whose embeddings tells ``claim``."""
    return out.exists(MANIFEST)


def finish(out: Place, dataset: Manifest, identity: Identity) -> None:
    """Write the manifest, which says that all is there.

    Raises:
        UserError: the place cannot be written.
    """
    parts = [
        {"path": part_path(shard), "rows": sum(shard.row_groups), "row_groups": shard.row_groups}
        for shard in dataset.shards
    ]
    document = {
        "format": FORMAT,
        "digest": identity.digest,
        **asdict(identity),
        "counts": {"slices": int(dataset.row_groups.rows.sum()), "parts": len(parts)},
        "generated_phantoms": dataset.generated_phantoms,
        "code_revision": code_revision(),
        "parts": parts,
    }
    out.write_bytes(MANIFEST, _json(document))


def read_embeddings(uri: str, patches: bool = False) -> pa.Table:
    """All embeddings of a dataset in the order of its slices, as a table in memory.

    ``embedding`` has a vector per slice; with ``patches`` that column is read too, which may be very large.
    The metadata of the table has, as ``mricore``, the content of ``manifest.json``.

    Raises:
        UserError: nothing was embedded there, the job has not ended, or a part is damaged.
    """
    out = place(uri)
    if not is_complete(out):
        raise UserError(f"{uri} holds no complete embeddings", "run jobs/embed.py to its end")
    document = _document(out, MANIFEST)
    if patches and not document["grid"]:
        raise UserError(f"{uri} holds no features of patches", "embed with --dense")
    columns = [*DESCRIBING, VECTOR, *([PATCHES] if patches else [])]
    tables = [read_part(out, part["path"], part["rows"], columns) for part in document["parts"]]
    return pa.concat_tables(tables).replace_schema_metadata({"mricore": json.dumps(document)})


def _document(out: Place, path: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(out.read_bytes(path))
        if document["format"] != FORMAT:
            raise ValueError
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{out.joined(path)} is not of embeddings", "give another address") from None
    return document


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()
