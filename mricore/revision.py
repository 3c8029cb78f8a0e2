"""Which code ran: version and a digest of the package's own sources, also where there is no git."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

_COMMIT = ("rev-parse", "HEAD")
_CHANGES = ("status", "--porcelain", "--untracked-files=no")


@cache
def code_revision() -> str:
    """For example ``0.1.0+3f2a9c01d4e5``; it changes with every change of the package's code."""
    root = Path(__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{metadata.version('mricore')}+{state.hexdigest()[:12]}"


@cache
def git_revision() -> str:
    """The commit of the checkout that the code runs from, with "+changed" if files differ; else empty."""
    git, root = shutil.which("git"), Path(__file__).parents[1]
    if git is None or not (root / ".git").exists():
        return ""
    commit, changes = (_said([git, "-C", str(root), *asked]) for asked in (_COMMIT, _CHANGES))
    return f"{commit}{'+changed' * bool(changes)}" if commit else ""


def _said(command: list[str]) -> str:
    """What a command prints; empty if it fails, as git does in a checkout of another user."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return ran.stdout.strip() if ran.returncode == 0 else ""
