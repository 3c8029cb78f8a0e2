"""Every reject reason is explained to users: in the documentation and in the report."""

import re
from pathlib import Path

import pytest

from mricore.records import Reason
from mricore.report.reasons import SENTENCES

TABLE = Path(__file__).parents[2] / "docs" / "reject-reasons.md"
LEVELS = {"file", "series", "volume", "exam"}


def table_rows():
    """Cells of the rows whose first cell is code."""
    lines = TABLE.read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}, [row[0].strip("`") for row in rows]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_one_complete_row(reason):
    rows, codes = table_rows()
    assert codes.count(reason) == 1
    level, meaning, remedy = rows[reason]
    assert set(level.split(", ")) <= LEVELS
    assert len(meaning) > 10
    assert len(remedy) > 10


def test_the_table_names_no_reason_that_does_not_exist():
    assert set(table_rows()[1]) == {str(reason) for reason in Reason}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_for_the_report(reason):
    assert SENTENCES[reason].strip()
    assert not re.search(r"[_\n]", SENTENCES[reason])


def test_no_two_reasons_read_alike():
    assert len(set(SENTENCES.values())) == len(SENTENCES) == len(Reason)


def test_the_settings_named_in_the_table_exist():
    from mricore.config.schema import Curation

    named = set(re.findall(r"`curation\.(\w+)", TABLE.read_text()))
    assert named
    assert named <= set(Curation.model_fields)
