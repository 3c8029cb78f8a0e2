"""A task with its data: volumes with masks, which patients teach and judge, and a digest of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.config.task import Task
from mricore.evaluation.tasks.splits import Part, Split
from mricore.evaluation.tasks.volume import LabelledVolume, SliceKey


@dataclass(frozen=True)
class LabelledTask:
    """Volumes in order of their names.

    ``digest`` is the same for the same declaration, pixels, masks, patients and split, wherever the files lie
    and whatever they are called. ``left_out`` counts cases that could not be used by reason
    (``mricore.evaluation.tasks.flaws``).
    """

    task: Task
    volumes: tuple[LabelledVolume, ...]
    split: Split
    digest: str
    left_out: Mapping[str, int] = field(default_factory=dict)

    def of(self, part: Part) -> list[LabelledVolume]:
        """The volumes of the patients of a part."""
        patients = set(self.split.patients(part))
        return [volume for volume in self.volumes if volume.patient in patients]

    def without(self, part: Part) -> LabelledTask:
        """The same task without the images and masks of a part's patients, which then nobody can look at."""
        patients = set(self.split.patients(part))
        return replace(self, volumes=tuple(one for one in self.volumes if one.patient not in patients))

    def slice(self, key: SliceKey) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Image and mask (rows, columns) of a slice.

        Raises:
            KeyError: there is no such case.
            IndexError: its volume has no such slice.
        """
        volume = self._by_case[key.case]
        if not 0 <= key.index < len(volume.image):
            raise IndexError(f"{key.case} has no slice {key.index}")
        return volume.image[key.index], volume.mask[key.index]

    def patient(self, key: SliceKey) -> str:
        """The patient of a slice."""
        return self._by_case[key.case].patient

    @cached_property
    def _by_case(self) -> dict[str, LabelledVolume]:
        return {volume.case: volume for volume in self.volumes}
