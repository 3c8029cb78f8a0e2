"""The three passes of curation that touch files, each a Ray Data stream of small tasks.

Tasks carry pickled lists of headers, which hold identifiers: they live in the object store of the
cluster for the length of the job (Ray spills it to its temporary folder when memory is short) and go
nowhere else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mricore.data.progress import Progress
from mricore.data.shards import SHARDS, Shard, write_shard
from mricore.data.storage import Place, StoredFile
from mricore.data.tasks import stream
from mricore.errors import UserError
from mricore.imaging.anatomy import locate
from mricore.imaging.deidentify import Pseudonymizer, slice_record
from mricore.imaging.headers import FrameHeader, read_header
from mricore.imaging.intensity import is_empty, measure, measure_volume
from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
from mricore.imaging.sequences import sequence_type
from mricore.imaging.volumes import Volume
from mricore.records import Pixels, Reason, SliceRecord

FILES_PER_TASK = 64
VOLUMES_PER_TASK = 4


_NO_PIXELS = np.empty((0, 0), np.uint16)


@dataclass(frozen=True, repr=False)
class SliceTask:
    """One slice to be written: the file it comes from, and its record without pixels."""

    path: str
    record: SliceRecord


@dataclass(frozen=True, repr=False)
class MeasuredVolume:
    """The slices of a volume that have contrast, or the reason why the volume is rejected."""

    slices: tuple[SliceTask, ...]
    empty_slices: int
    reason: Reason | None


def read_headers(source: Place, files: Sequence[StoredFile]) -> list[FrameHeader | Reason]:
    """Pass 1: one header, or the reason why there is none, for each file."""
    chunks = [
        [file.path for file in files[i : i + FILES_PER_TASK]] for i in range(0, len(files), FILES_PER_TASK)
    ]
    progress = Progress("indexing", len(files), "files")
    found: list[FrameHeader | Reason] = []
    for part in stream(lambda paths: [_header(source, path) for path in paths], chunks):
        found.extend(part)
        progress.update(len(found))
    return found


def measure_volumes(
    source: Place, volumes: Sequence[Volume], pseudonymizer: Pseudonymizer
) -> list[MeasuredVolume]:
    """Pass 2: read the pixels of each volume once, for its statistics and to know that all decode."""
    chunks = [volumes[i : i + VOLUMES_PER_TASK] for i in range(0, len(volumes), VOLUMES_PER_TASK)]
    progress = Progress("measuring", len(volumes), "volumes")
    measured: list[MeasuredVolume] = []
    for part in stream(
        lambda chunk: [measure_one(source, volume, pseudonymizer) for volume in chunk], chunks
    ):
        measured.extend(part)
        progress.update(len(measured))
    return measured


def write_shards(
    source: Place,
    target: Place,
    tasks: Sequence[Sequence[SliceTask]],
    rows_per_group: int,
) -> list[Shard]:
    """Pass 3: one shard per task, slices in the order given."""

    def write(numbered: tuple[int, Sequence[SliceTask]]) -> Shard:
        number, slices = numbered
        records = [replace(task.record, pixels=_pixels_again(source, task.path)) for task in slices]
        return write_shard(target, f"{SHARDS}/{number:06d}.parquet", records, rows_per_group)

    progress = Progress("writing", sum(len(slices) for slices in tasks), "slices")
    shards: list[Shard] = []
    done = 0
    for shard in stream(write, list(enumerate(tasks))):
        shards.append(shard)
        done += sum(shard.row_groups)
        progress.update(done)
    return shards


def measure_one(source: Place, volume: Volume, pseudonymizer: Pseudonymizer) -> MeasuredVolume:
    """Decode a volume; one undecodable slice rejects it, since a gap would remain.

    Raises:
        UserError: the source can no longer be reached.
    """
    try:
        decoded = [(_pixels(source, frame.uri), frame.slope, frame.intercept) for frame in volume.frames]
    except UnreadablePixelsError as error:
        return MeasuredVolume((), 0, error.reason)
    except MemoryError:
        return MeasuredVolume((), 0, Reason.UNREADABLE_PIXELS)
    except UserError:
        source.require()
        return MeasuredVolume((), 0, Reason.UNREADABLE_PIXELS)
    whole = measure_volume(decoded)
    location, sequence = locate(volume.frames[0]).value, sequence_type(volume.frames[0]).value
    slices = []
    for index, (frame, content) in enumerate(zip(volume.frames, decoded, strict=True)):
        one = measure(*content)
        if not is_empty(one):
            record = slice_record(
                frame, _NO_PIXELS, volume, index, one, whole, pseudonymizer, location, sequence
            )
            slices.append(SliceTask(frame.uri, record))
    return MeasuredVolume(tuple(slices), len(decoded) - len(slices), None if slices else Reason.EMPTY_IMAGE)


def _pixels(source: Place, path: str) -> Pixels:
    # read as a whole first: what a codec raises on damaged bytes must not look like an outage
    return read_pixels(io.BytesIO(source.read_bytes(path)))


def _pixels_again(source: Place, path: str) -> Pixels:
    """Pixels that could be read before."""
    try:
        return _pixels(source, path)
    except UnreadablePixelsError:
        remedy = "run the same command again when nobody writes to it"
        raise UserError(f"{source.uri} has changed while it was read", remedy) from None


def _header(source: Place, path: str) -> FrameHeader | Reason:
    """A file is to blame only as long as its source can be reached: an outage must not pass for a reject."""
    try:
        with source.reading(path) as file:
            return read_header(file, path)
    except UserError:
        source.require()
        return Reason.UNREADABLE_HEADER
