"""Volumes that somebody else has read -> the dataset: a round beside those of DICOM archives.

The same passes as ``mricore.data.curate`` from the second on. What is stored already is known by the
pseudonyms of its slices, so the same volumes once more add nothing, and what a killed process left is used.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from mricore.data.audit import AUDIT, write_audit_of_images
from mricore.data.collect import buckets_for, write_shards
from mricore.data.finish import Finish, remove_ours, sweep
from mricore.data.funnel import Funnel
from mricore.data.index import INDEX
from mricore.data.intake import Extracted, Intake, ledger_path, remembered
from mricore.data.ledger import ledger_rows
from mricore.data.manifest import Manifest, write_manifest
from mricore.data.target import Target
from mricore.data.volume_reader import ReadSlice, ReadVolume, measure
from mricore.data.work import in_process
from mricore.errors import UserError
from mricore.imaging.fingerprints import content_digest
from mricore.imaging.intensity import VolumeStatistics
from mricore.imaging.volumes import Volume
from mricore.records import Pixels, Reason

FORMAT = 1
IMAGES_PER_FILE = 256
"""A file of the ledger has about so many images."""


@dataclass(frozen=True, repr=False)
class Stack:
    """A continuous volume with its pixels, which ``Frame.file`` counts, and the protocol of its exam."""

    volume: Volume
    pixels: Sequence[Pixels]
    protocol: str

    @property
    def slice_ids(self) -> list[str]:
        """The pseudonyms of its slices."""
        return [frame.slice_id for frame in self.volume.frames]


def stored_slices(target: Target) -> frozenset[str]:
    """The pseudonyms of all slices that the dataset knows, those dropped as repeats too.

    Raises:
        UserError: the dataset is damaged.
    """
    known = target.known()
    rows = ledger_rows(target.destination, known.ledger, ("slice_id",)) if known else ()
    return frozenset(slice_id for (slice_id,) in rows)


def add_stacks(
    target: Target,
    stacks: Sequence[Stack],
    funnel: Funnel,
    fingerprint: str,
    files: int,
    check: Callable[[Manifest], None],
) -> Manifest:
    """Add volumes to a dataset, or make it; needs no Ray.

    ``funnel`` has the steps and rejects so far, ``fingerprint`` names the source, ``files`` is how many it
    has. ``check`` sees the manifest before it is written, and may raise UserError against it. If all is
    there already, the dataset stays as it is.

    Raises:
        UserError: it was made under other rules, nothing is usable, ``check`` says no, or the destination
            cannot be written.
    """
    known = target.known()
    if known is not None:
        target.require_same_rules(known)
    was_there = target.destination.exists()
    target.destination.require_writable()
    try:
        manifest = _added(target, known, stacks, funnel, fingerprint)
        check(manifest)
        target.require_unchanged(known)
    except UserError:
        there = target.known()
        if there is None:
            remove_ours(target.destination)
        else:
            _sweep(target, there)
        if not was_there:
            target.destination.remove_empty("")
        raise
    if manifest != known:
        if not target.destination.exists(AUDIT):  # that of DICOM files says more
            write_audit_of_images(target.destination, files)
        write_manifest(target.destination, manifest)
    _sweep(target, manifest)
    return manifest


def _added(
    target: Target, known: Manifest | None, stacks: Sequence[Stack], funnel: Funnel, fingerprint: str
) -> Manifest:
    stored = stored_slices(target)
    fresh = sum(len(stack.volume.slices) for stack in stacks if not stored.issuperset(stack.slice_ids))
    buckets = buckets_for(fresh, target.policy)
    extracted = [_take_in(target, group, stored, buckets) for group in _groups(stacks)]
    for one in extracted:
        funnel.rejected.update(one.rejected)
    images, volumes = (sum(getattr(one, name) for one in extracted) for name in ("images", "volumes"))
    funnel.step("continuous volumes", images=images, volumes=volumes)
    finish = Finish(target, known, buckets, extracted)
    if known is not None and finish.ledger == known.ledger:
        return known
    shards = write_shards(target.destination, list(finish.buckets()), in_process)
    if not shards and known is None:
        raise UserError("no usable slices", f"left out: {funnel.summary()}")
    return finish.manifest(shards, funnel, fingerprint)


def _sweep(target: Target, manifest: Manifest) -> None:
    """Remove leftovers, but not what is remembered of headers: the next curation of the archive reads it."""
    names = target.destination.names(INDEX)
    sweep(target.destination, manifest, [name.removeprefix(f"{INDEX}/").split(".")[0] for name in names])


def _groups(stacks: Sequence[Stack]) -> Iterator[list[Stack]]:
    group: list[Stack] = []
    for stack in stacks:
        group.append(stack)
        if sum(len(one.volume.slices) for one in group) >= IMAGES_PER_FILE:
            yield group
            group = []
    if group:
        yield group


def _take_in(target: Target, group: Sequence[Stack], stored: frozenset[str], buckets: int) -> Extracted:
    """Some volumes to the ledger and the parts, or what is remembered of that."""
    key = _key(target, group, stored, buckets)
    found = remembered(target.destination, ledger_path(key))
    if found is not None:
        return found
    intake = Intake(target, key, buckets)
    for stack in group:
        for volume in intake.fresh([stack.volume], stored):
            intake.take(_measured(volume, stack.pixels), stack.protocol)
    return intake.finish(complete=True)


def _key(target: Target, group: Sequence[Stack], stored: frozenset[str], buckets: int) -> str:
    """Keyed digest of all that decides what becomes of some volumes."""
    content: list[Any] = [FORMAT, buckets, target.policy.seed]
    for stack in group:
        frames = [
            [astuple(frame), content_digest(stack.pixels[frame.file]).hex(), frame.slice_id in stored]
            for frame in stack.volume.frames
        ]
        content.append([stack.protocol, stack.volume.spacing_slice, frames])
    return hmac.new(target.key, json.dumps(content).encode(), hashlib.sha256).hexdigest()[:32]


def _measured(volume: Volume, pixels: Sequence[Pixels]) -> ReadVolume | Reason:
    statistics = VolumeStatistics()
    slices: list[ReadSlice] = []
    for frame in volume.frames:
        found = measure(frame, pixels[frame.file], statistics)
        if isinstance(found, Reason):
            return found
        slices.append(found)
    return ReadVolume(volume, tuple(slices), statistics.intensity())
