"""The job that embeds an archive: a registered encoder and a dataset in, files of embeddings out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mricore.config.curation import Curation
from mricore.config.embedding import Embedding
from mricore.config.overrides import overridden
from mricore.data.cluster import ray_session
from mricore.data.embedding_parts import Identity
from mricore.data.embedding_place import claim, finish, is_complete, missing_parts
from mricore.data.manifest import MANIFEST, Manifest, has_manifest, read_manifest
from mricore.data.progress import Progress, duration
from mricore.data.shared_folder import shared
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.evaluation.contenders import digest_of
from mricore.evaluation.embedding import embed
from mricore.evaluation.features import at_size
from mricore.evaluation.shard_embedder import Embedded, Work
from mricore.model.embedder import SETTINGS, WEIGHTS, Embedder
from mricore.registry.load import folder_of, version_of
from mricore.workflows.dataset import curated_dataset


@dataclass(frozen=True)
class EmbedRequest:
    """The command line of ``jobs/embed.py``; later ``assignments`` win."""

    model: str
    data: str
    out: str
    key_file: Path
    assignments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoder:
    """The encoder as it was when the job began, whatever an alias does later."""

    version: str
    folder: Path
    embedder: Embedder

    @property
    def name(self) -> str:
        """What is told of it; the path of a folder may say more than it should."""
        return self.version if self.version.startswith("models:/") else "folder"


def shorthand(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Options that are named like settings of ``embed``, where they were given, as with ``--set``."""
    return tuple(
        f"embed.{name}={json.dumps(options[name])}"
        for name in Embedding.model_fields
        if options.get(name) is not None
    )


def embed_archive(request: EmbedRequest) -> None:
    """Embed what is not embedded yet, and say where it is.

    Raises:
        UserError: a setting, the model, the data, the cluster or ``out`` is not usable; ``out`` holds
            embeddings of something else; or a shard of the dataset cannot be read.
    """
    sections = overridden({"embed": Embedding(), "curation": Curation()}, request.assignments)
    settings = cast(Embedding, sections["embed"])
    source, out = place(request.data), place(request.out)
    source.require()  # what is wrong with the command is told before any long work begins
    out.require_writable()
    encoder = _opened(request.model, settings)
    if has_manifest(source):  # without Ray, as all may be done already
        _embed(encoder, source, read_manifest(source), out, settings)
        return
    with ray_session():
        dataset, manifest = curated_dataset(
            request.data, out, cast(Curation, sections["curation"]), request.key_file
        )
        _embed(encoder, dataset, manifest, out, settings)


def _opened(model: str, settings: Embedding) -> Encoder:
    version = version_of(model)
    folder = folder_of(version)
    embedder = Embedder.load(folder)
    print(f"model: {model}" + ("" if version == model else f", now {version}"), flush=True)
    if settings.image_size:
        embedder = at_size(embedder, settings.image_size)
    return Encoder(version, folder, embedder)


def identity_of(encoder: Encoder, manifest: Manifest, settings: Embedding) -> Identity:
    """All that decides the numbers."""
    embedder = encoder.embedder
    side = embedder.image_size // embedder.settings.patch
    return Identity(
        model=encoder.name,
        weights=digest_of(embedder, {}),
        dataset=manifest.digest,
        image_size=embedder.image_size,
        normalization=embedder.normalization,
        precision=settings.precision,
        dtype=settings.dtype,
        dim=embedder.settings.dim,
        grid=(side, side) if settings.dense else (),
    )


def _embed(encoder: Encoder, dataset: Place, manifest: Manifest, out: Place, settings: Embedding) -> None:
    """Embed a curated dataset."""
    identity = identity_of(encoder, manifest, settings)
    print(f"data: {manifest.counts['slices']:,} slices, digest {manifest.digest[:12]}", flush=True)
    claim(out, identity)
    missing = missing_parts(out, manifest.shards, identity)
    if missing or not is_complete(out):
        if len(missing) < len(manifest.shards):
            done = len(manifest.shards) - len(missing)
            print(f"{done:,} of {len(manifest.shards):,} shards are embedded already", flush=True)
        unread = _computed(Work(dataset, manifest.shards, out, identity, settings), encoder, missing)
        if unread:
            raise UserError(
                f"{unread:,} of {len(manifest.shards):,} shards of {dataset.uri} cannot be read",
                "restore them from a copy, and run the same command again: it embeds these alone",
            )
        finish(out, manifest, identity)
    else:
        print("all of it is embedded already; nothing to do")
    vectors = f"{identity.dim} numbers a slice"
    patches = f" and {identity.grid[0]} x {identity.grid[1]} patches" if identity.grid else ""
    print(f"embeddings: {out.uri}: {vectors}{patches}, at {identity.image_size} px")
    print(f"manifest:   {out.joined(MANIFEST)}")


def _computed(work: Work, encoder: Encoder, missing: Sequence[int]) -> int:
    """Embed shards and say how fast it went; the number of those that could not be read."""
    if not missing:
        return 0
    answers: list[Embedded] = []
    began = time.monotonic()
    progress = Progress("embedding", sum(sum(work.shards[number].row_groups) for number in missing), "slices")
    with ray_session():
        for answer in embed(work, shared(encoder.folder, (SETTINGS, WEIGHTS)), missing):
            answers.append(answer)
            if answer.error is not None:
                print(f"left out: {answer.error.problem}", flush=True)
            progress.update(sum(one.slices for one in answers))
    _timed(answers, time.monotonic() - began)
    return sum(answer.error is not None for answer in answers)


def _timed(answers: Sequence[Embedded], seconds: float) -> None:
    """Throughput, and the shares of the workers' time that went into waiting and writing."""
    slices = sum(one.slices for one in answers)
    worked = sum(one.seconds for one in answers)
    waited, wrote = (sum(getattr(one, name) for one in answers) / worked for name in ("waited", "wrote"))
    print(
        f"embedded {slices:,} slices in {duration(seconds)}, {slices / seconds:,.1f}/s; a worker at work "
        f"{slices / worked:,.1f}/s: {waited:.0%} of its time waiting for slices, {wrote:.0%} writing"
    )
