"""Images of labelled tasks as slices for pretraining: who is judged stays out, and that is checked."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from mricore.config.task import Task, load_task
from mricore.data.funnel import Funnel
from mricore.data.job import refuse_overlap
from mricore.data.manifest import MANIFEST, Manifest
from mricore.data.stacks import Stack, add_stacks, stored_slices
from mricore.data.storage import place
from mricore.data.target import Target
from mricore.errors import UserError
from mricore.evaluation.tasks.leaks import find_leaks
from mricore.evaluation.tasks.splits import Part
from mricore.evaluation.tasks.unlabelled import Unlabelled, read_unlabelled
from mricore.imaging.phantoms.labelled import SPEC, LabelledSpec
from mricore.report.data_card import CARD, write_data_card
from mricore.workflows.curate import chosen_policy, describe
from mricore.workflows.dataset import secret_key
from mricore.workflows.labelled_data import task_folder

JUDGED: tuple[Part, ...] = ("development", "test")


@dataclass(frozen=True)
class TaskCurationRequest:
    """What a user asked for: ``tasks`` as TASK=ROOT, and the rest as for the curation of an archive."""

    destination: str
    tasks: Sequence[str]
    policy: str
    assignments: Sequence[str]
    key_file: Path


def curate_tasks_job(request: TaskCurationRequest) -> Manifest:
    """Add the pools of tasks to a dataset, or make it of them; say what was kept, left out and checked.

    Raises:
        UserError: a task, the policy or a setting is wrong, the dataset was made under other rules, it would
            hold slices of a patient who is judged, or nothing is usable.
    """
    policy = chosen_policy(request.policy, request.assignments)
    destination = place(request.destination)
    named = [_named(text) for text in request.tasks]
    for _, folder in named:  # what is wrong is told before a key is made
        refuse_overlap(place(str(folder)), destination)
        place(str(folder)).require()
    target = Target(destination, policy, secret_key(request.key_file), _all_phantoms(named))
    known = target.known()
    if known is not None:
        target.require_same_rules(known)  # told before files are read
    tasks = []
    for task, folder in named:
        tasks.append(read_unlabelled(task, folder, policy, target.pseudonymizer))
        print(_told(tasks[-1]), flush=True)
    manifest = add_stacks(
        target,
        _unjudged(target, tasks),
        _funnel(tasks),
        _fingerprint(target, tasks),
        sum(one.files for one in tasks),
        lambda made: _require_no_leak(tasks, target, made),
    )
    if manifest == known:
        print("the dataset holds these images already; nothing to do")
    if manifest != known or not destination.exists(CARD):
        write_data_card(destination, manifest)
    print(describe(manifest))
    for name, file in (("manifest", MANIFEST), ("data card", CARD)):
        print(f"{name + ':':<10} {destination.joined(file)}")
    return manifest


def _named(text: str) -> tuple[Task, Path]:
    name, _, root = text.partition("=")
    return load_task(name), task_folder(name, root or None)


def _all_phantoms(named: Sequence[tuple[Task, Path]]) -> bool:
    """Whether all folders were generated.

    Raises:
        UserError: some were and some were not.
    """
    generated = {_is_generated(folder) for _, folder in named}
    if len(generated) > 1:
        raise UserError("phantoms and patients do not belong in one dataset", "curate phantoms apart")
    return generated == {True}


def _is_generated(folder: Path) -> bool:
    """Whether a folder has the specification that generated phantoms have beside them."""
    try:
        return set(json.loads((folder / SPEC).read_text())) == {field.name for field in fields(LabelledSpec)}
    except (OSError, ValueError, TypeError):
        return False


def _unjudged(target: Target, tasks: Sequence[Unlabelled]) -> list[Stack]:
    """All volumes, unless one belongs to a patient who is judged, by this task or another.

    Raises:
        UserError: one does, or the dataset holds one.
    """
    judged = frozenset[str]().union(*(one.judged for one in tasks))
    stacks = [stack for one in tasks for stack in one.stacks]
    if not judged.isdisjoint(stored_slices(target)):
        raise UserError(
            f"{target.destination.uri} holds slices of patients who are judged by one of these tasks",
            "curate into a new destination, and judge no encoder by this task that has seen this dataset",
        )
    if any(not judged.isdisjoint(stack.slice_ids) for stack in stacks):
        raise UserError(
            "a patient of one task's pool is judged by another of these tasks",
            "give both the same parts with lists in [split], or leave one task out",
        )
    return stacks


def _require_no_leak(tasks: Sequence[Unlabelled], target: Target, manifest: Manifest) -> None:
    """The same check that evaluations make, of all who are judged.

    Raises:
        UserError: the dataset holds their slices.
    """
    for one in tasks:
        leaks = find_leaks(one.labelled.without("pool"), target.destination, manifest)
        print(f"leaks: development and test of {leaks}", flush=True)
        if leaks.verdict == "found":
            raise UserError(
                f"among the slices of the dataset are some of patients who are judged by task {leaks.task}",
                "they came from another source or under another name: mend patient or [split] of the task, "
                "or take another destination",
            )


def _funnel(tasks: Sequence[Unlabelled]) -> Funnel:
    funnel = Funnel()
    for step, parts in (("usable cases of tasks", ("pool", *JUDGED)), ("cases of their pools", ("pool",))):
        volumes = [volume for one in tasks for part in parts for volume in one.labelled.of(part)]
        patients = sum(len(one.labelled.split.patients(part)) for one in tasks for part in parts)
        images = sum(len(volume.image) for volume in volumes)
        funnel.step(step, images=images, volumes=len(volumes), patients=patients)
    for one in tasks:
        funnel.rejected.update(one.rejected)
    return funnel


def _fingerprint(target: Target, tasks: Sequence[Unlabelled]) -> str:
    """Keyed digest of the tasks with their data."""
    state = hmac.new(target.key, b"tasks", hashlib.sha256)
    for digest in sorted(one.labelled.digest for one in tasks):
        state.update(digest.encode())
    return state.hexdigest()


def _told(found: Unlabelled) -> str:
    split, slices = found.labelled.split, sum(len(stack.volume.slices) for stack in found.stacks)
    judged = ", ".join(f"{len(split.patients(part))} of {part}" for part in JUDGED)
    told = f"task {found.labelled.task.name}: {slices:,} slices of {len(split.pool)} patients of the pool"
    left_out = ", ".join(f"{count:,} x {reason}" for (_, reason), count in sorted(found.rejected.items()))
    rounded = f"; {found.rounded:,} volumes of decimal numbers rounded to 16 bits" if found.rounded else ""
    return f"{told}; patients left out: {judged}; left out: {left_out or 'nothing'}{rounded}"
