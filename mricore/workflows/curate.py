"""The curation job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mricore.config.curation import Curation
from mricore.config.overrides import apply_overrides
from mricore.config.policy import load_policy
from mricore.config.recipes import tiny
from mricore.data.audit import AUDIT
from mricore.data.cluster import ray_session
from mricore.data.curate import curate, known_dataset
from mricore.data.exam_table import read_exam_table
from mricore.data.job import Job
from mricore.data.manifest import MANIFEST, Manifest
from mricore.data.storage import place
from mricore.data.wanted_exams import wanted_exams
from mricore.errors import UserError
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.report.data_card import CARD, write_data_card
from mricore.workflows.dataset import secret_key

COUNTED = ("slices", "volumes", "exams", "patients")


@dataclass(frozen=True)
class CurationRequest:
    """What a user asked for: two addresses, a policy by name or file, settings on top of it, a key file.

    ``exams`` is the address of a table of exams, ``columns`` names its columns where they are unusual.
    """

    source: str
    destination: str
    policy: str
    assignments: Sequence[str]
    key_file: Path
    exams: str | None = None
    columns: str = ""


def curate_job(request: CurationRequest) -> Manifest:
    """Curate and say what was kept, what was left out and why, and where things are.

    Raises:
        UserError: see ``mricore.data.curate.curate``; or the policy, a setting or the table is wrong.
    """
    policy = chosen_policy(request.policy, request.assignments)
    source, destination = place(request.source), place(request.destination)
    source.require()  # a wrong address is told before a key is made and Ray starts
    key = secret_key(request.key_file)
    table = None
    if request.exams:
        pseudonymizer = Pseudonymizer(key)
        exams = read_exam_table(request.exams, pseudonymizer.exam_key, request.columns)
        table = wanted_exams(exams, policy, pseudonymizer)
    job = Job(source, destination, policy, key, table)
    manifest = known_dataset(job)
    if manifest is None:
        destination.require_writable()
        with ray_session():
            manifest = curate(job)
        write_data_card(destination, manifest)
    else:
        print("the dataset holds this source already; nothing to do")
        if not destination.exists(CARD):  # a process may have been killed just before it
            write_data_card(destination, manifest)
    print(describe(manifest))
    for name, file in (("manifest", MANIFEST), ("audit", AUDIT), ("data card", CARD)):
        print(f"{name + ':':<10} {destination.joined(file)}")
    return manifest


def chosen_policy(name: str, assignments: Sequence[str]) -> Curation:
    """The policy of that name or file, with single settings changed.

    Raises:
        UserError: the policy cannot be read, or a setting is not about curation.
    """
    for assignment in assignments:
        if not assignment.startswith("curation."):
            raise UserError(
                f"--set {assignment} does not concern curation", "use settings that begin with curation."
            )
    recipe = tiny().model_copy(update={"curation": load_policy(name)})
    return apply_overrides(recipe, assignments).curation


def describe(manifest: Manifest) -> str:
    """A few lines: what was kept, what was left out, what repeats."""
    kept = ", ".join(f"{manifest.counts[name]:,} {name}" for name in COUNTED)
    lines = [f"kept: {kept}"]
    lines += [f"left out: {row['count']:,} x {row['reason']} ({row['level']})" for row in manifest.rejected]
    repeats = [f"{count:,} {name.replace('_', ' ')}" for name, count in manifest.repeats.items() if count]
    return "\n".join([*lines, f"repeats: {', '.join(repeats)}"] if repeats else lines)
