"""The curation job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import tiny
from mricore.data.cluster import ray_session
from mricore.data.curate import curate
from mricore.data.manifest import MANIFEST, Manifest
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.workflows.dataset import secret_key


def curate_job(source: str, destination: str, assignments: Sequence[str], key_file: Path) -> Manifest:
    """Curate and say what was kept, what was left out and why, and where the manifest is.

    Raises:
        UserError: see ``mricore.data.curate.curate``; or a setting that is not about curation.
    """
    for assignment in assignments:
        if not assignment.startswith("curation."):
            raise UserError(
                f"--set {assignment} does not concern curation", "use settings that begin with curation."
            )
    policy = apply_overrides(tiny(), assignments).curation
    origin, target = place(source), place(destination)
    files = origin.files()  # a wrong address is told before Ray starts
    with ray_session():
        manifest = curate(origin, files, target, policy, secret_key(key_file))
    print(describe(manifest))
    print(f"manifest: {target.joined(MANIFEST)}")
    return manifest


def describe(manifest: Manifest) -> str:
    """A few lines: what was kept and what was left out."""
    kept = ", ".join(f"{count:,} {name}" for name, count in manifest.counts.items())
    lines = [f"kept: {kept}"]
    lines += [f"left out: {row['count']:,} x {row['reason']} ({row['level']})" for row in manifest.rejected]
    return "\n".join(lines)
