"""Curation: a folder of DICOM -> audited, de-identified shards and a manifest (paper section 4.1).

Headers are read in parallel; series, exams and volumes are chosen from headers alone; each chosen
volume's pixels are read once for its statistics; each shard is then written from a globally shuffled
list of slices. Slices are read twice so that no archive ever has to fit in memory and none is copied in
between. What leaves this module is pseudonymous.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from math import isnan
from typing import Any

from mricore.config.schema import Curation
from mricore.data import passes
from mricore.data.manifest import Manifest, has_manifest, read_manifest, write_manifest
from mricore.data.passes import SliceTask
from mricore.data.shards import SHARDS, Shard
from mricore.data.storage import Place, StoredFile
from mricore.errors import UserError
from mricore.imaging.anatomy import LOCATIONS
from mricore.imaging.deidentify import Pseudonymizer
from mricore.imaging.headers import FrameHeader, frame_reason
from mricore.imaging.selection import select_series
from mricore.imaging.volumes import build_volumes
from mricore.records import Level, Reason

Tally = Counter[tuple[Level, Reason]]
DECODERS = ("pydicom", "python-gdcm", "pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg", "pillow")


def curate(
    source: Place,
    files: Sequence[StoredFile],
    destination: Place,
    policy: Curation,
    key: bytes,
    *,
    generated_phantoms: bool = False,
) -> Manifest:
    """Curate the ``files`` of ``source`` into ``destination``, return the manifest; needs a Ray session.

    A destination that already holds exactly this source under this policy is returned as it is; an
    interrupted curation starts again, and its unfinished shards are overwritten or removed.

    Raises:
        UserError: source and destination overlap, the source has no usable MR or can no longer be
            reached, the destination may not be written or holds another dataset, or the policy names
            an unknown location.
    """
    _refuse_overlap(source, destination)
    _check_policy(policy)
    fingerprint = source_fingerprint(files, policy, key)
    if has_manifest(destination):
        return _same_dataset(destination, fingerprint)
    if not files:
        raise UserError(f"no files below {source.uri}", "give the folder that contains the DICOM files")
    destination.require_writable()
    pseudonymizer = Pseudonymizer(key)
    tally: Tally = Counter()
    funnel = [_funnel_row("files found", [], files=len(files))]
    slices = _select(source, files, policy, pseudonymizer, tally, funnel)
    if not slices:
        raise UserError(f"no usable MR slices below {source.uri}", f"left out: {_summary(tally)}")
    shards = _write(source, destination, slices, policy, pseudonymizer)
    manifest = Manifest(
        shards=tuple(shards),
        counts=_counts(slices),
        distributions=_distributions(slices),
        funnel=tuple(funnel),
        rejected=tuple(
            {"level": level, "reason": str(why), "count": n} for (level, why), n in sorted(tally.items())
        ),
        source_fingerprint=fingerprint,
        generated_phantoms=generated_phantoms,
        provenance=_provenance(policy),
    )
    write_manifest(destination, manifest)
    return manifest


def source_fingerprint(files: Sequence[StoredFile], policy: Curation, key: bytes) -> str:
    """Keyed digest of a source's file list and the policy; it tells nothing about the names."""
    state = hmac.new(key, policy.model_dump_json().encode(), hashlib.sha256)
    for file in files:
        entry = f"{file.path}\0{file.size}\0{file.modified_ns}\n"
        state.update(entry.encode("utf-8", "surrogateescape"))  # names may be anything
    return state.hexdigest()


def _select(
    source: Place,
    files: Sequence[StoredFile],
    policy: Curation,
    pseudonymizer: Pseudonymizer,
    tally: Tally,
    funnel: list[dict[str, Any]],
) -> list[SliceTask]:
    """From files to the slices that will be written; fills the tally of rejects and the funnel."""
    headers = []
    for found in passes.read_headers(source, files):
        reason = found if isinstance(found, Reason) else frame_reason(found, policy)
        if isinstance(found, Reason) or reason is not None:
            tally["file", reason or Reason.UNREADABLE_HEADER] += 1
        else:
            headers.append(found)
    funnel.append(_funnel_row("readable MR images", headers))
    headers, rejected = select_series(headers, policy, pseudonymizer.order)
    tally.update(rejected)
    funnel.append(_funnel_row("allowed anatomy, sampled exams", headers))
    volumes, rejected = build_volumes(headers, policy)
    tally.update(rejected)
    frames = [frame for volume in volumes for frame in volume.frames]
    funnel.append(_funnel_row("continuous volumes", frames, volumes=len(volumes)))
    slices: list[SliceTask] = []
    for measured in passes.measure_volumes(source, volumes, pseudonymizer):
        if measured.reason is not None:
            tally["volume", measured.reason] += 1
        elif measured.empty_slices:
            tally["file", Reason.EMPTY_IMAGE] += measured.empty_slices
        slices.extend(measured.slices)
    funnel.append({"step": "slices written", "files": len(slices), **_counts(slices)})
    return slices


def _write(
    source: Place, destination: Place, slices: list[SliceTask], policy: Curation, pseudonymizer: Pseudonymizer
) -> list[Shard]:
    """Shuffle all slices by a keyed hash of their identity, cut into shards, write them in parallel."""
    order = sorted(slices, key=lambda task: pseudonymizer.order(f"{policy.seed}/{task.record.slice_id}"))
    size = policy.slices_per_shard
    tasks = [order[i : i + size] for i in range(0, len(order), size)]
    shards = passes.write_shards(source, destination, tasks, policy.slices_per_row_group)
    _remove_leftovers(destination, shards)
    return shards


def _remove_leftovers(destination: Place, shards: Sequence[Shard]) -> None:
    """Shards of an interrupted curation under another policy may hold what this one leaves out."""
    wanted = {shard.path for shard in shards}
    for file in Place(destination.joined(SHARDS)).files():
        path = f"{SHARDS}/{file.path}"
        if path not in wanted and re.fullmatch(r"\d{6}\.parquet", file.path):
            destination.remove(path)


def _funnel_row(
    step: str, headers: Sequence[FrameHeader], *, files: int | None = None, volumes: int | None = None
) -> dict[str, Any]:
    """What remains after a step; a column that means nothing yet is absent."""
    row: dict[str, Any] = {"step": step, "files": len(headers) if files is None else files}
    if files is None:
        row["series"] = len({header.series_uid for header in headers})
        row["exams"] = len({header.study_uid for header in headers})
        row["patients"] = len({header.patient_key for header in headers})
    if volumes is not None:
        row["volumes"] = volumes
    return row


def _counts(slices: Sequence[SliceTask]) -> dict[str, int]:
    return {
        "slices": len(slices),
        "volumes": len({task.record.volume_id for task in slices}),
        "exams": len({task.record.exam_id for task in slices}),
        "patients": len({task.record.patient_id for task in slices}),
    }


def _distributions(slices: Sequence[SliceTask]) -> dict[str, dict[str, int]]:
    """Slices per value of each attribute (paper Fig. 1b), most frequent first."""
    tables: dict[str, Counter[str]] = {
        name: Counter() for name in ("location", "sequence", "plane", "vendor")
    }
    for name, table in tables.items():
        table.update(str(getattr(task.record, name)) for task in slices)
    fields = [task.record.field_strength for task in slices]
    tables["field_strength"] = Counter("unknown" if isnan(field) else f"{field:.1f} T" for field in fields)
    return {
        name: dict(sorted(table.items(), key=lambda item: (-item[1], item[0])))
        for name, table in tables.items()
    }


def _provenance(policy: Curation) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("mricore", *DECODERS)}
    return {"policy": policy.model_dump(mode="json"), "versions": versions}


def _summary(tally: Tally) -> str:
    counts = Counter({reason: 0 for _, reason in tally})
    for (_, reason), count in tally.items():
        counts[reason] += count
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "nothing"


def _check_policy(policy: Curation) -> None:
    """A mistyped location would exclude nothing, and let faces in."""
    unknown = sorted(set(policy.exclude_locations) - set(LOCATIONS))
    if unknown:
        raise UserError(
            f"curation.exclude_locations has the unknown location {unknown[0]!r}",
            f"valid names: {', '.join(LOCATIONS)}",
        )


def _refuse_overlap(source: Place, destination: Place) -> None:
    inside = f"{destination.uri}/".startswith(f"{source.uri}/") or f"{source.uri}/".startswith(
        f"{destination.uri}/"
    )
    if inside:
        raise UserError("source and destination overlap", "give a destination outside the source folder")


def _same_dataset(destination: Place, fingerprint: str) -> Manifest:
    manifest = read_manifest(destination)
    if manifest.source_fingerprint != fingerprint:
        raise UserError(
            f"{destination.uri} already holds a dataset made from other files or settings",
            "give an empty destination, or remove that dataset",
        )
    return manifest
