"""Every benchmark keeps the interface: a table for people, and a file with ratios and what they mean."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("bench_*.py")), ids=lambda path: path.name)
def test_a_benchmark_reports_ratios_and_what_was_compared(path, tmp_path):
    command = [sys.executable, str(path), "--quick", "--json", str(tmp_path / "result.json")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300)
    report = json.loads((tmp_path / "result.json").read_text())
    assert report["ratios"]
    for name, value in report["ratios"].items():
        assert value > 0
        assert name in result.stdout
    assert report["compared"]
    assert report["hardware"]
    assert report["repeats"] > 0
