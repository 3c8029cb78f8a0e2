"""Processes below another one, and how they are killed."""

import contextlib
import os
import signal
from pathlib import Path


def below(pid):
    """{pid: title} of the processes that were started below a process."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = (entry / "stat").read_text()
                titles[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):  # it has just ended
                continue
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])

    def is_below(one):
        while one in parents and one != pid:
            one = parents[one]
        return one == pid

    return {one: title for one, title in titles.items() if one != pid and is_below(one)}


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def kill_with_all_below(process):
    """Kill -9 a process that a test has started, and its Ray: workers outlive their raylet by seconds."""
    for one in (*below(process.pid), process.pid):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            kill(one)
    process.wait()
