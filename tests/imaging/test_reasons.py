"""Every reject reason is explained to users: in the documentation and in the pages."""

import re
from pathlib import Path
from typing import get_args

import pytest

from mricore.config.curation import Curation
from mricore.records import Level, Reason
from mricore.report.reasons import EXPLANATIONS

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reject-reasons.md"
COUNTED = re.compile(r'\["(\w+)", Reason\.(\w+)\]')
"""How the code counts a reject: tally[level, reason]."""


def table_rows():
    """Cells of the rows whose first cell is code."""
    lines = TABLE.read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}, [row[0].strip("`") for row in rows]


def documented_levels(reason):
    return table_rows()[0][reason][0].split(", ")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_one_complete_row(reason):
    rows, codes = table_rows()
    assert codes.count(reason) == 1
    _, meaning, remedy = rows[reason]
    assert set(documented_levels(reason)) <= set(get_args(Level))
    assert len(meaning) > 10
    assert len(remedy) > 10


def test_the_table_has_the_reasons_in_their_order_and_no_others():
    assert table_rows()[1] == [str(reason) for reason in Reason]


def test_the_code_counts_at_the_levels_that_the_table_tells():
    source = "".join(path.read_text() for path in (ROOT / "mricore").rglob("*.py"))
    counted = set(COUNTED.findall(source))
    assert len(counted) > 4
    assert not {(level, name) for level, name in counted if level not in documented_levels(Reason[name])}


@pytest.mark.parametrize("level", get_args(Level))
def test_every_level_is_explained_and_used(level):
    assert f"\n- **{level}**: " in TABLE.read_text()
    assert any(level in documented_levels(reason) for reason in Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_that_differs_by_level_says_how(reason):
    levels, meaning = documented_levels(reason), table_rows()[0][reason][1]
    assert len(levels) == 1 or all(f"({level})" in meaning for level in levels)


@pytest.mark.parametrize("reason", Reason)
def test_pages_and_table_tell_the_same_remedy(reason):
    told = EXPLANATIONS[reason]
    assert told.remedy == table_rows()[0][reason][2].replace("`", "")
    assert len(told.meaning) > 5
    assert not re.search(r"[_\n]", told.meaning)


def test_no_two_reasons_read_alike():
    assert len({one.meaning for one in EXPLANATIONS.values()}) == len(EXPLANATIONS) == len(Reason)


def test_the_settings_named_in_the_table_exist():
    named = set(re.findall(r"`curation\.(\w+)", TABLE.read_text()))
    assert named
    assert named <= set(Curation.model_fields)
