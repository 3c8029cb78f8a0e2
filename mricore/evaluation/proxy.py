"""How well an encoder in training would segment: patch probes of a few slices, in seconds.

Each of some draws learns from five slices of the pool, and is judged on slices of those pool and development
patients that it did not learn from. The test patients of a task stay unseen, so that a run may
choose its best checkpoint by this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mricore.config.probes import PatchProbe
from mricore.config.schema import Normalization
from mricore.errors import UserError
from mricore.evaluation.features import as_trained
from mricore.evaluation.patch_probe import Taught, learned, mean_dice
from mricore.evaluation.protocol import embed_slices
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.volume import SliceKey
from mricore.model.embedder import Embedder

DRAWS = 3
TRAINING = 5
JUDGED = 32
SETTINGS = PatchProbe(l2=(1e-2,))
"""Nothing is chosen, so no slices are needed to choose by."""

Image = NDArray[np.float32]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class SegmentationProxy:
    """The slices of one task; the same ones every time.

    ``draws`` are, of each draw, the places among all slices of those to learn from and of those to judge.
    """

    classes: int
    images: Sequence[Image]
    masks: Sequence[Mask]
    draws: Sequence[tuple[Sequence[int], Sequence[int]]]

    @classmethod
    def of(cls, labelled: LabelledTask, normalization: Normalization, seed: int) -> SegmentationProxy:
        """Choose the slices; the volumes need not be kept afterwards.

        Raises:
            UserError: fewer than two patients of the pool show a class, or all of them are learned from.
        """
        taught = [draw(labelled, number, seed, TRAINING, validation=0).training for number in range(DRAWS)]
        judged = _judged(labelled)
        if not all(_apart(labelled, judged, chosen) for chosen in taught):
            raise UserError(
                f"task {labelled.task.name}: nobody is left to judge beside {TRAINING} slices to learn from",
                "give pool and development more patients in [split]",
            )
        keys = sorted({*judged, *(key for keys in taught for key in keys)})
        place = {key: index for index, key in enumerate(keys)}
        needed = {key.case for key in keys}
        scaled = {
            one.case: as_trained(one.image, normalization) for one in labelled.volumes if one.case in needed
        }
        return cls(
            len(labelled.task.classes) + 1,
            [scaled[key.case][key.index].copy() for key in keys],
            [labelled.slice(key)[1].copy() for key in keys],
            [
                ([place[key] for key in chosen], [place[key] for key in _apart(labelled, judged, chosen)])
                for chosen in taught
            ],
        )

    def score(self, embedder: Embedder) -> float:
        """Mean 2D Dice over draws, slices and the classes that a slice shows."""
        features = embed_slices(embedder.dense, self.images)
        slices = [Taught(one, mask) for one, mask in zip(features, self.masks, strict=True)]
        found = []
        for taught, judged in self.draws:
            scores, _ = learned([slices[place] for place in taught], [], self.classes, SETTINGS)
            found.append(mean_dice(scores, [slices[place] for place in judged], self.classes))
        return float(np.mean(found))


def _judged(labelled: LabelledTask) -> list[SliceKey]:
    """Slices that show a class, evenly over all of the pool's and the development patients."""
    keys = [
        SliceKey(volume.case, int(index))
        for volume in [*labelled.of("pool"), *labelled.of("development")]
        for index in np.flatnonzero(volume.mask.any((1, 2)))
    ]
    places = np.linspace(0, len(keys), min(JUDGED, len(keys)), endpoint=False).astype(int)
    return [keys[place] for place in places]


def _apart(labelled: LabelledTask, keys: Sequence[SliceKey], taught: Sequence[SliceKey]) -> list[SliceKey]:
    """The slices of patients that were not learned from."""
    known = {labelled.patient(key) for key in taught}
    return [key for key in keys if labelled.patient(key) not in known]
