"""A declaration and a folder -> a labelled task; one bad case is left out with a reason and stops nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.config.task import Source, Task
from mricore.data.storage import Place, expanded
from mricore.errors import UserError
from mricore.evaluation.tasks import dicom, nifti, png
from mricore.evaluation.tasks.cases import CaseFiles, find_cases
from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.masks import class_numbers
from mricore.evaluation.tasks.splits import Split
from mricore.evaluation.tasks.splitting import Patient, split_patients
from mricore.evaluation.tasks.volume import LabelledVolume, Spacing

UNKNOWN = "unknown"
"""The category of what a declaration does not list."""


@dataclass(frozen=True, repr=False)
class _Read:
    """A case that could be read. ``called`` is what files call the patient."""

    files: CaseFiles
    called: str
    image: NDArray[Any]
    mask: NDArray[np.uint8]
    spacing: Spacing
    categories: dict[str, str]
    image_digest: str


def read_volumes(task: Task, root: Path) -> LabelledTask:
    """All usable cases of a task below a folder; see ``read_cases``."""
    return read_cases(task, root)[0]


def read_cases(task: Task, root: Path, whole: bool = False) -> tuple[LabelledTask, dict[str, CaseFiles]]:
    """All usable cases of a task below a folder, and the files of each, which may name patients, by its name.

    ``whole`` keeps slices without a class whatever the declaration says; nothing else depends on it.

    Cases and patients are numbered in the order of digests of their images: names tell nothing of files, and
    neither names nor splits change when files are renamed or listed in another order. Of cases with the same
    image the first by path is taken.

    Raises:
        UserError: the folder or a table cannot be read, no case is usable, or patients are too few.
    """
    root = expanded(root)
    cases, not_in_table = find_cases(task, root)
    left_out: Counter[str] = Counter({Flaw.NOT_IN_TABLE.value: not_in_table} if not_in_table else {})
    found: dict[str, _Read] = {}
    for case in cases:
        try:
            read = _read(task, case, whole)
            if read.image_digest in found:
                raise CaseRefusedError(Flaw.REPEATED)
            found[read.image_digest] = read
        except CaseRefusedError as refused:
            left_out[refused.flaw.value] += 1
    if left_out[Flaw.UNREADABLE_IMAGE] or left_out[Flaw.UNREADABLE_MASK]:
        Place(str(root)).require()  # files are to blame only as long as their folder can be reached
    if not found:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items()))
        raise UserError(
            f"task {task.name}: none of {sum(left_out.values())} cases below {root} can be used ({reasons})",
            "docs/tasks.md explains the reasons",
        )
    reads = [found[digest] for digest in sorted(found)]
    labelled = _numbered(task, reads, dict(sorted((+left_out).items())))
    files = zip(labelled.volumes, reads, strict=True)
    return labelled, {volume.case: read.files for volume, read in files}


def _read(task: Task, case: CaseFiles, whole: bool) -> _Read:
    image, values, spacing = _volume(task, case)
    mask = class_numbers(values, task)
    digest = digest_of(image)
    if task.exclude_empty:
        shown = mask.any((1, 2))
        if not shown.any():
            raise CaseRefusedError(Flaw.NO_LABELLED_SLICE)
        if not whole:
            image, mask = image[shown], mask[shown]
    categories = {
        name: category.values.get(case.filled(category.of), UNKNOWN)
        for name, category in task.categories.items()
    }
    return _Read(case, case.filled(task.source.patient), image, mask, spacing, categories, digest)


def _volume(task: Task, case: CaseFiles) -> tuple[NDArray[Any], NDArray[Any], Spacing]:
    """Image and mask (slices, rows, columns) with the values of the files, turned as declared."""
    image, mask, spacing = _stored(task.source, case)
    quarters = 0 if task.source.turn == "header" else task.source.turn // 90
    if quarters % 2:
        spacing = spacing[0], spacing[2], spacing[1]
    if isinstance(task.source.spacing, tuple):
        spacing = task.source.spacing
    if isnan(spacing[0]):
        raise CaseRefusedError(Flaw.NOT_A_VOLUME)
    if not _has_finite_range(image):
        raise CaseRefusedError(Flaw.NOT_FINITE)
    image, mask = (np.ascontiguousarray(np.rot90(one, quarters, (1, 2))) for one in (image, mask))
    return image, mask, spacing


def _stored(source: Source, case: CaseFiles) -> tuple[NDArray[Any], NDArray[Any], Spacing]:
    masks = case.masks(source)
    if source.kind == "dicom":
        return dicom.read_volume([path for _, path in case.images], masks, source)
    if source.kind == "png":
        return *png.read_volume(case.images, masks), (nan, nan, nan)
    if len(case.images) > 1:
        raise CaseRefusedError(Flaw.NOT_A_VOLUME)
    return nifti.read_volume(case.images[0][1], masks[0], source)


def _has_finite_range(image: NDArray[Any]) -> bool:
    """Whether all values are finite, and slices can be scaled by the difference of their ends as float32."""
    if image.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.float32(image.max()) - np.float32(image.min())))


def _numbered(task: Task, reads: Sequence[_Read], left_out: dict[str, int]) -> LabelledTask:
    """Names for cases and patients in the order given."""
    digests: dict[str, str] = {}
    for read in reads:
        digests[read.called] = digests.get(read.called, "") + read.image_digest
    names = dict(zip(digests, _names(f"{task.name}-p", len(digests)), strict=True))
    volumes = tuple(
        LabelledVolume(case, names[read.called], read.image, read.mask, read.spacing, read.categories)
        for case, read in zip(_names(f"{task.name}-", len(reads)), reads, strict=True)
    )
    split = split_patients(task, [Patient(names[called], called, digests[called]) for called in digests])
    return LabelledTask(task, volumes, split, _digest_of_all(task, volumes, split), left_out)


def _names(prefix: str, count: int) -> list[str]:
    width = max(2, len(str(count)))
    return [f"{prefix}{number:0{width}d}" for number in range(1, count + 1)]


def digest_of(array: NDArray[Any]) -> str:
    """SHA-256 of type, shape and values, the same on any machine."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    state = hashlib.sha256(f"{little.dtype.str}{little.shape}".encode())
    state.update(little.data)
    return state.hexdigest()


def _digest_of_all(task: Task, volumes: Sequence[LabelledVolume], split: Split) -> str:
    """Parts count by themselves: lists of patients say names of files, which the rest does not depend on.

    What pretraining makes of the images changes no score.
    """
    state = hashlib.sha256(f"{task.model_dump_json(exclude={'pretraining'})} {split}".encode())
    for volume in volumes:
        state.update(f"{volume.case} {volume.patient} {volume.spacing} {dict(volume.categories)}".encode())
        state.update((digest_of(volume.image) + digest_of(volume.mask)).encode())
    return state.hexdigest()
