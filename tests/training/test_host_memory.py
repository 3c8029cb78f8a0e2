"""A process on a CPU keeps the memory that a step frees."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from mricore.training.host_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()


def faults_of_steps(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.ones(64 * 2**20 // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


faults_of_steps(10)
print(faults_of_steps(10))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_memory_that_was_freed_is_not_asked_for_again():
    """Ten steps of 64 MiB are 163,840 pages of 4 KiB, each of which is a fault if it was given back."""
    found = {}
    for kind in ("keep", "give"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, check=True
        )
        found[kind] = int(done.stdout)
    assert found["keep"] < 1000 < found["give"]
