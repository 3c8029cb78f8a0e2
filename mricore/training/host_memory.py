"""Memory of a process that steps on a CPU."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of settings in glibc's malloc.h."""
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; whether its C library can be told so.

    A step frees and takes tensors of many megabytes. glibc gives each back to the system, which hands it out
    again page by page and zeroed. The process stays as large as it was at its largest, which each step is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone
    return mallopt is not None and all(
        (mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, _NEVER))  # 1 where it is done
    )
