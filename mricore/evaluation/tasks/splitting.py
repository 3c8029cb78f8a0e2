"""Patients of a task -> parts; every patient is in exactly one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

from mricore.config.task import Lists, Shares, Task
from mricore.errors import UserError
from mricore.evaluation.tasks.splits import Part, Split

PARTS: tuple[Part, ...] = get_args(Part)
FEWEST_IN_POOL = 2
"""Training and validation slices are of different patients."""


class Patient(NamedTuple):
    """A patient by name, by what files say, and by the images."""

    name: str
    called: str
    images: str


def split_patients(task: Task, patients: Sequence[Patient]) -> Split:
    """The parts of patients.

    Shares are dealt in the order of keyed digests of images, so a split does not depend on names of files.

    Raises:
        UserError: a part would have too few patients, or a patient is on no list.
    """
    if isinstance(task.split, Lists):
        parts = _listed(task, task.split, patients)
    else:
        parts = _dealt(task.split, patients)
    _require_enough(task, parts)
    return Split(**{part: tuple(sorted(names)) for part, names in parts.items()})


def _dealt(shares: Shares, patients: Sequence[Patient]) -> dict[Part, list[str]]:
    def keyed(patient: Patient) -> str:
        return hashlib.sha256(f"{shares.seed}/{patient.images}".encode()).hexdigest()

    order = [patient.name for patient in sorted(patients, key=keyed)]
    parts: dict[Part, list[str]] = {}
    for part, count in _counts(shares, len(order)).items():
        parts[part], order = order[:count], order[count:]
    return parts


def _counts(shares: Shares, patients: int) -> dict[Part, int]:
    """Whole numbers nearest to the shares: what is left after rounding down goes to the largest rests."""
    wanted = {part: getattr(shares, part) * patients for part in PARTS}
    counts = {part: int(exact + 1e-9) for part, exact in wanted.items()}
    by_rest = sorted(PARTS, key=lambda part: counts[part] - wanted[part])
    for part in by_rest[: patients - sum(counts.values())]:
        counts[part] += 1
    return counts


def _listed(task: Task, lists: Lists, patients: Sequence[Patient]) -> dict[Part, list[str]]:
    parts: dict[Part, list[str]] = {
        part: [patient.name for patient in patients if patient.called in getattr(lists, part)]
        for part in PARTS
    }
    missing = len(patients) - sum(len(names) for names in parts.values())
    if missing:
        raise UserError(
            f"task {task.name}: {missing} of {len(patients)} patients are on no list of [split]",
            "add them to a list, or write shares instead",
        )
    return parts


def _require_enough(task: Task, parts: Mapping[Part, list[str]]) -> None:
    fewest = {
        "pool": FEWEST_IN_POOL,
        "development": int(bool(task.split.development)),
        "test": int(bool(task.split.test)),
    }
    if any(len(parts[part]) < fewest[part] for part in PARTS):
        found = ", ".join(f"{len(parts[part])} in {part}" for part in PARTS)
        total = sum(len(names) for names in parts.values())
        raise UserError(
            f"task {task.name}: {total} patients are too few for its [split] ({found})",
            f"the pool needs {FEWEST_IN_POOL}, each other part one; change [split], or add patients",
        )
