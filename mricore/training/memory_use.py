"""Memory of this process and of this machine, in bytes."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_MEMORY = Path("/proc/meminfo")


def resident_bytes() -> int:
    """Memory of this process now; where the system does not tell, the most that it had so far."""
    return _entry(_STATUS, "VmRSS") if _STATUS.exists() else _largest_so_far()


def peak_resident_bytes() -> int:
    """The most memory that this process had so far.

    Of Linux's two counters the one that a new program begins anew; the other passes from parent to child.
    """
    return _entry(_STATUS, "VmHWM") if _STATUS.exists() else _largest_so_far()


def available_bytes() -> int:
    """Memory of this machine that is not in use; where the system does not tell, all of it."""
    return _entry(_MEMORY, "MemAvailable") if _MEMORY.exists() else machine_bytes()


def machine_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _largest_so_far() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _entry(path: Path, name: str) -> int:
    """An entry in kB of one of Linux's files."""
    entries = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(entries[name].split()[0]) * 1024
