"""Thousands of damaged files in other processes: no crash, no hang, no unpromised error, no leak."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fuzzing import PLANTED, bases, mutated, outcome

PROGRAM = Path(__file__).with_name("fuzzing.py")
PER_PROCESS = 2000
PROCESSES = 2


@pytest.fixture(scope="module")
def runs():
    """Exit code, standard output and error of each process; all run at once."""
    ranges = [(first * PER_PROCESS, (first + 1) * PER_PROCESS) for first in range(PROCESSES)]
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, str(first), str(after)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env={"PYTHONPATH": str(PROGRAM.parents[2])},
        )
        for first, after in ranges
    ]
    outputs = [process.communicate(timeout=120) for process in started]
    return [(process.returncode, *output) for process, output in zip(started, outputs, strict=True)]


def test_every_damaged_file_is_read_or_refused(runs):
    for code, said, complaints in runs:
        last = said.decode().splitlines()[-1]
        assert code == 0, f"seed {last}: {complaints.decode(errors='replace')[-2000:]}"


def test_the_damage_is_neither_too_light_nor_too_heavy(runs):
    counts = Counter()
    for _, said, _ in runs:
        counts.update(json.loads(said.splitlines()[-1]))
    assert sum(counts.values()) == PROCESSES * PER_PROCESS
    assert counts["frames/pixels"] > 500 and counts["frames/unreadable"] > 500
    assert counts["unreadable_header/unreadable"] > 500
    assert {"no_pixels", "no_geometry", "mosaic", "not_grayscale"} <= {key.split("/")[0] for key in counts}


def test_no_identifier_appears_in_what_the_processes_say(runs):
    for _, said, complaints in runs:
        for secret in PLANTED:
            assert secret.encode() not in said + complaints


def test_the_undamaged_files_are_all_read():
    assert {outcome(content) for content in bases()} == {("frames", "pixels")}


def test_identifiers_are_planted_in_the_files():
    for content in bases():
        plain = b"1.2.840.10008.1.2.1.99" not in content
        assert all(secret.encode() in content for secret in PLANTED) == plain


def test_a_seed_always_makes_the_same_file():
    files = bases()
    assert mutated(files, 17) == mutated(files, 17) != mutated(files, 17 + len(files))
