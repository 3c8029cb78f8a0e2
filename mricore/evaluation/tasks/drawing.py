"""Which few slices an encoder is adapted on: seeded, from the pool alone, the same for every encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mricore.errors import UserError
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Draw
from mricore.evaluation.tasks.volume import SliceKey


def draw(labelled: LabelledTask, number: int, seed: int, training: int = 5, validation: int = 5) -> Draw:
    """Slices of the pool that show a class, each of another patient (paper section 2.1).

    With fewer patients than slices, patients are divided between training and validation in proportion, so
    that none is in both, and each gives as many slices as needed, all different. The draw depends on
    ``number``, ``seed``, the patients of the pool and their masks, and on nothing else.

    Raises:
        UserError: the pool has fewer than two patients with a class, or too few slices.
    """
    generator = np.random.default_rng([seed, number])
    slices = _slices_by_patient(labelled)
    patients = [str(name) for name in generator.permutation(sorted(slices))]
    if len(patients) < 2:
        raise UserError(
            f"task {labelled.task.name}: {len(patients)} patients of the pool show a class, two are needed",
            "give the pool a larger share in [split]",
        )
    if len(patients) >= training + validation:
        teaching = training
    else:
        teaching = round(len(patients) * training / (training + validation))
        teaching = min(max(teaching, 1), len(patients) - 1)
    return Draw(
        number,
        _chosen(slices, patients[:teaching], training, generator, labelled),
        _chosen(slices, patients[teaching:], validation, generator, labelled),
    )


def _slices_by_patient(labelled: LabelledTask) -> dict[str, list[SliceKey]]:
    """Slices of the pool that show a class."""
    found: dict[str, list[SliceKey]] = {}
    for volume in labelled.of("pool"):
        shown = np.flatnonzero(volume.mask.any((1, 2))).tolist()
        if shown:
            found.setdefault(volume.patient, []).extend(SliceKey(volume.case, index) for index in shown)
    return found


def _chosen(
    slices: dict[str, list[SliceKey]],
    patients: Sequence[str],
    count: int,
    generator: np.random.Generator,
    labelled: LabelledTask,
) -> tuple[SliceKey, ...]:
    """One slice of each patient in turn until there are ``count``."""
    shuffled = {
        patient: [slices[patient][place] for place in generator.permutation(len(slices[patient]))]
        for patient in patients
    }
    chosen: list[SliceKey] = []
    while len(chosen) < count and any(shuffled.values()):
        for patient in patients:
            if shuffled[patient] and len(chosen) < count:
                chosen.append(shuffled[patient].pop())
    if len(chosen) < count:
        raise UserError(
            f"task {labelled.task.name}: {len(patients)} patients have {len(chosen)} slices with a class,"
            f" {count} are needed",
            "ask for fewer slices, or give the pool a larger share in [split]",
        )
    return tuple(chosen)
