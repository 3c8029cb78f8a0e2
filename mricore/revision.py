"""Which code ran: version and a digest of the package's own sources, also where there is no git."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def code_revision() -> str:
    """For example ``0.1.0+3f2a9c01d4e5``; it changes with every change of the package's code."""
    root = Path(__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{metadata.version('mricore')}+{state.hexdigest()[:12]}"
