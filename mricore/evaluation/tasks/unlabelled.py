"""The images of a labelled task as slices for pretraining: without masks and without who is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mricore.config.curation import Curation
from mricore.config.task import Task
from mricore.data.stacks import Stack
from mricore.errors import UserError
from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.reading import read_cases
from mricore.evaluation.tasks.unlabelled_images import Images, images_of
from mricore.imaging.anatomy import UNKNOWN
from mricore.imaging.declared import Declared, face_reason, word_of
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.volumes import build_volumes
from mricore.records import Level, Reason

Rejected = Counter[tuple[Level, Reason]]
_REASONS: Mapping[Flaw, Reason] = {
    Flaw.UNREADABLE_IMAGE: Reason.UNREADABLE_PIXELS,
    Flaw.NOT_FINITE: Reason.UNREADABLE_PIXELS,
    Flaw.UNEVEN_SLICES: Reason.GAP,
    Flaw.SAME_POSITION: Reason.DUPLICATE_POSITION,
}
"""Flaws of cases that curation has a word for; the others are its ``UNUSABLE_CASE``."""


@dataclass(frozen=True, repr=False)
class Unlabelled:
    """What pretraining gets of a task: ``stacks`` of the pool, and what was left out.

    ``labelled`` is the task with all its parts. ``judged`` are the pseudonyms that slices of judged patients
    would have. ``files`` is how many files the pool has, ``rounded`` how many of its volumes hold decimal
    numbers that had to be rounded to 16 bits.
    """

    labelled: LabelledTask
    stacks: tuple[Stack, ...]
    judged: frozenset[str]
    rejected: Rejected
    files: int
    rounded: int


def read_unlabelled(task: Task, root: Path, policy: Curation, pseudonymizer: Pseudonymizer) -> Unlabelled:
    """The images of a task's pool, ready to be stored.

    Patients and parts are those of ``read_volumes``, so masks are looked at to tell which cases are usable,
    and for nothing else. A case that the task leaves out has no part, so it stays out here too.

    Raises:
        UserError: see ``read_volumes``; or [pretraining] says a word that curation does not know.
    """
    _require_known_words(task)
    labelled, files = read_cases(task, root, whole=True)
    rejected = Rejected()
    for flaw, count in labelled.left_out.items():
        rejected["volume", _reason(Flaw(flaw))] += count
    protocol = pseudonymizer.pseudonym("protocol", "task", task.name)
    pool = set(labelled.split.pool)
    stacks: list[Stack] = []
    judged: set[str] = set()
    counted = rounded = 0
    for volume in labelled.volumes:
        declared = declared_of(task, volume.categories)
        try:
            images = images_of(volume, files[volume.case], task.source, declared, policy, pseudonymizer)
        except CaseRefusedError as refused:
            rejected["volume", _reason(refused.flaw)] += 1
            continue
        if volume.patient not in pool:
            rejected["volume", Reason.JUDGED_PATIENT] += 1
            judged.update(frame.slice_id for frame in images.frames)
            continue
        counted += len(files[volume.case].images)
        found = _allowed(images, declared, policy, protocol, rejected)
        rounded += bool(found and not images.is_exact)
        stacks += found
    return Unlabelled(labelled, tuple(stacks), frozenset(judged), rejected, counted, rounded)


def declared_of(task: Task, categories: Mapping[str, str]) -> Declared:
    """What a declaration tells of a volume; a category tells more than [pretraining]."""
    told = task.pretraining
    words = {}
    for name, text in (("location", told.location), ("sequence", told.sequence), ("vendor", told.vendor)):
        words[name] = word_of(name, categories.get(name, ""))
        if words[name] == UNKNOWN and text:
            words[name] = word_of(name, text)
    return Declared(**words, plane=told.plane or UNKNOWN, shows_face=told.shows_face)


def _require_known_words(task: Task) -> None:
    for name in ("sequence", "vendor"):
        text = getattr(task.pretraining, name)
        if text is not None and word_of(name, text) == UNKNOWN:
            raise UserError(
                f"task {task.name}: [pretraining] {name} = {text!r} is not known",
                "docs/tasks.md lists the words; leave it out if none fits",
            )


def _reason(flaw: Flaw) -> Reason:
    return _REASONS.get(flaw, Reason.UNUSABLE_CASE)


def _allowed(
    images: Images, declared: Declared, policy: Curation, protocol: str, rejected: Rejected
) -> list[Stack]:
    """The volumes that the policy lets in; ``rejected`` gets what it leaves out."""
    usable = []
    for frame in images.frames:
        if frame.reason:
            rejected["image", Reason(frame.reason)] += 1
        elif min(frame.rows, frame.columns) < policy.min_pixels:
            rejected["image", Reason.TOO_SMALL] += 1
        else:
            usable.append(frame)
    if not usable:
        return []
    reason = face_reason({frame.location for frame in images.frames}, declared, policy)
    if reason is not None:
        rejected["series", reason] += 1
        return []
    if images.volume is None:
        volumes, flaws = build_volumes(usable, policy)
        rejected.update(flaws)
    elif len(usable) >= policy.min_slices:
        volumes = [images.volume]
    else:
        volumes = []
        rejected["volume", Reason.TOO_FEW_SLICES] += 1
    return [Stack(volume, images.pixels, protocol) for volume in volumes]
