"""From what the user calls data to a curated dataset."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict
from pathlib import Path

from mricore.config.curation import Curation
from mricore.data.curate import curate
from mricore.data.job import Job
from mricore.data.manifest import Manifest, has_manifest, read_manifest
from mricore.data.progress import Progress
from mricore.data.storage import Place, place, readable_errors
from mricore.imaging.phantoms.collection import CollectionSpec, write_collection
from mricore.imaging.pseudonyms import load_or_create_key

PHANTOM_KEY = hashlib.sha256(b"mricore phantoms are nobody").digest()
"""Phantoms are nobody, so their pseudonyms need no secret and are the same everywhere."""


def secret_key(path: Path) -> bytes:
    """The key of the pseudonyms, made on first use.

    Raises:
        UserError: the file is not a key.
    """
    path = path.expanduser()
    if not path.exists():
        print(f"pseudonyms: made a new secret key in {path}; keep it, and keep it secret")
    return load_or_create_key(path)


def curated_dataset(
    data: str | None, outputs: Place, policy: Curation, key_file: Path
) -> tuple[Place, Manifest]:
    """A curated dataset as it is, raw DICOM curated into a cache first, or generated phantoms.

    Needs a Ray session.

    Raises:
        UserError: the data cannot be read or hold no usable MR.
    """
    if data is None:
        return _phantoms(outputs, policy)
    source = place(data)
    if has_manifest(source):
        print("data: a curated dataset, used as it is")
        return source, read_manifest(source)
    key = secret_key(key_file)
    target = _cache(source, outputs, policy, key)
    print(f"data: raw DICOM, curated into the cache {target.uri}")
    return target, curate(Job(source, target, policy, key))


def ready_dataset(
    data: str | None, outputs: Place, policy: Curation, key_file: Path
) -> tuple[Place, Manifest] | None:
    """What ``curated_dataset`` would give without any curation; None if there is none of that yet.

    Raises:
        UserError: the data cannot be read.
    """
    if data is None:
        target = Place(outputs.joined(f"datasets/{_phantom_name(CollectionSpec(), policy)}"))
    else:
        target = place(data)
        if not has_manifest(target) and key_file.expanduser().exists():
            target = _cache(target, outputs, policy, secret_key(key_file))
    return (target, read_manifest(target)) if has_manifest(target) else None


def _cache(source: Place, outputs: Place, policy: Curation, key: bytes) -> Place:
    """Where raw DICOM is curated to."""
    state = hmac.new(key, f"{source.uri}/{policy.model_dump_json()}".encode(), hashlib.sha256)
    return Place(outputs.joined(f"datasets/{state.hexdigest()[:12]}"))


def _phantom_name(spec: CollectionSpec, policy: Curation) -> str:
    state = hmac.new(PHANTOM_KEY, f"{asdict(spec)}/{policy.model_dump_json()}".encode(), hashlib.sha256)
    return f"phantoms-{state.hexdigest()[:12]}"


def _phantoms(outputs: Place, policy: Curation) -> tuple[Place, Manifest]:
    """The generated collection, written as DICOM on this machine and curated like any other."""
    spec = CollectionSpec()
    name = _phantom_name(spec, policy)
    target = Place(outputs.joined(f"datasets/{name}"))
    if has_manifest(target):
        return target, read_manifest(target)
    folder = _local_folder(outputs) / "phantoms" / name
    source = Place(str(folder))
    if not folder.exists():
        progress = Progress("generating", spec.patients + 1, "phantom patients")
        with readable_errors(source.uri):
            write_collection(folder, spec, lambda done, total: progress.update(done))
    made = curate(Job(source, target, policy, PHANTOM_KEY, generated_phantoms=True))
    return target, made


def _local_folder(outputs: Place) -> Path:
    return Path.home() / ".mricore" if outputs.is_remote else Path(outputs.uri)
