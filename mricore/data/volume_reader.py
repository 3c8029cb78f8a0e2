"""The pixels of volumes: each file is read once, each slice measured, fingerprinted and encoded at once."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from mricore.data import codec
from mricore.data.storage import Place, StoredFile
from mricore.errors import UserError
from mricore.imaging.burned_in import has_burned_in_text
from mricore.imaging.fingerprints import content_digest, fingerprint
from mricore.imaging.frames import Frame
from mricore.imaging.intensity import VolumeStatistics, histogram, is_empty, without_padding
from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
from mricore.imaging.volumes import Volume
from mricore.records import Intensity, Pixels, Reason


@dataclass(frozen=True, repr=False)
class ReadSlice:
    """A slice after its pixels were read; of ``pixels`` only shape and type are left."""

    frame: Frame
    pixels: Pixels
    encoded: bytes
    intensity: Intensity
    fingerprint: bytes
    content: bytes

    @property
    def is_empty(self) -> bool:
        """Whether there is no contrast."""
        return is_empty(self.intensity)


@dataclass(frozen=True, repr=False)
class ReadVolume:
    """A volume whose slices could all be decoded."""

    volume: Volume
    slices: tuple[ReadSlice, ...]
    intensity: Intensity


MOST_DAMAGED = 16
"""Frames of a file that are passed over; after them the rest counts as damaged too."""
Target = tuple[int, int]
"""A volume and a slice of it, by their numbers."""


class VolumeReader:
    """Reads the volumes of a series one after the other.

    ``files`` are those that ``Frame.file`` counts; files whose path is among ``killers`` are never touched.
    Only compressed slices are held, of the volumes whose files have been opened and are not complete.
    """

    def __init__(
        self, source: Place, volumes: Sequence[Volume], files: Sequence[StoredFile], killers: Collection[str]
    ) -> None:
        self._source = source
        self._volumes = volumes
        self._files = files
        self._killers = killers
        self.complete = True
        """Whether every file could be had; else a disk or the memory of a machine may be to blame."""
        self._slices: dict[int, dict[int, ReadSlice]] = defaultdict(dict)
        self._statistics: dict[int, VolumeStatistics] = defaultdict(VolumeStatistics)
        self._flaws: dict[int, Reason] = {}
        self._targets: dict[int, list[Target]] = defaultdict(list)
        for number, volume in enumerate(volumes):
            for index, copies in enumerate(volume.slices):
                self._targets[copies[0].file].append((number, index))

    def volumes(self) -> Iterator[ReadVolume | Reason]:
        """Each volume with its slices, or the reason against it: one slice without pixels would leave a gap.

        Raises:
            UserError: the source can no longer be reached.
        """
        for number in range(len(self._volumes)):
            yield self._volume(number)

    def _volume(self, number: int) -> ReadVolume | Reason:
        """The next volume; opens the files that no earlier one has opened."""
        volume = self._volumes[number]
        for copies in volume.slices:
            if number in self._flaws:
                break
            targets = self._targets.pop(copies[0].file, [])
            for target in self._read([one for one in targets if one[0] not in self._flaws], 0):
                self._read_copy(target)
        slices, statistics = self._slices.pop(number, {}), self._statistics.pop(number, None)
        if number in self._flaws or statistics is None:
            return self._flaws.get(number, Reason.UNREADABLE_PIXELS)
        ordered = tuple(slices[index] for index in range(len(volume.slices)))
        return ReadVolume(volume, ordered, statistics.intensity())

    def _read_copy(self, target: Target) -> None:
        """Of a slice whose first copy is damaged another one may be whole."""
        copies = self._copies(target)
        if not any(not self._read([target], number) for number in range(1, len(copies))):
            self._flaws.setdefault(target[0], Reason.UNREADABLE_PIXELS)

    def _read(self, targets: list[Target], copy: int) -> list[Target]:
        """Read slices that share a file; returns those that could not be had."""
        if not targets:
            return []
        frames = [self._copies(target)[copy] for target in targets]
        content = self._content(frames[0].file)
        if content is None:
            return targets
        failed: list[Target] = []
        position = 0
        while position < len(targets) and len(failed) < MOST_DAMAGED:
            position += self._read_until_damage(content, targets[position:], frames[position:])
            failed += targets[position : position + 1]
            position += 1
        return failed + targets[position:]

    def _read_until_damage(self, content: bytes, targets: list[Target], frames: list[Frame]) -> int:
        """Read slices of one file; how many could be read before one that could not."""
        shape = frames[0].rows, frames[0].columns
        read = 0
        try:
            for pixels in read_pixels(io.BytesIO(content), [frame.frame for frame in frames], shape):
                self._take(targets[read], frames[read], pixels)
                read += 1
        except UnreadablePixelsError:
            return read
        except MemoryError:
            self.complete = False
        return read

    def _content(self, number: int) -> bytes | None:
        """A whole file, as what a codec raises on damaged bytes must not look like an outage.

        None if it cannot be had, or is no longer the one whose header was read.
        """
        file = self._files[number]
        try:
            if file.path not in self._killers and self._source.is_unchanged(file):
                content = self._source.read_bytes(file.path)
                if len(content) == file.size:
                    return content
        except (UserError, MemoryError):
            self._source.require()  # a file is to blame only as long as its source can be reached
        self.complete = False
        return None

    def _take(self, target: Target, frame: Frame, pixels: Pixels) -> None:
        number, index = target
        measured = measure(frame, pixels, self._statistics[number])
        if isinstance(measured, Reason):
            self._flaws[number] = measured
        else:
            self._slices[number][index] = measured

    def _copies(self, target: Target) -> tuple[Frame, ...]:
        return self._volumes[target[0]].slices[target[1]]


def measure(frame: Frame, pixels: Pixels, statistics: VolumeStatistics) -> ReadSlice | Reason:
    """A slice measured, fingerprinted and encoded, and counted into its volume's statistics.

    Or the reason against its volume.
    """
    counted = histogram(pixels, frame.padding)
    statistics.add(counted, frame.slope, frame.intercept)
    stored = without_padding(pixels, frame.padding, counted.darkest(frame.slope))
    if has_burned_in_text(stored):
        return Reason.BURNED_IN_ANNOTATION
    return ReadSlice(
        frame,
        _shape_and_type(stored),
        codec.encode(stored),
        counted.intensity(frame.slope, frame.intercept),
        fingerprint(stored, *counted.percentiles),
        content_digest(stored),
    )


def _shape_and_type(pixels: Pixels) -> Pixels:
    """Pixels of the same shape and type that take no memory."""
    return cast(Pixels, np.broadcast_to(pixels.dtype.type(0), pixels.shape))
