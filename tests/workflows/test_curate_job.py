"""The curation job: what a user asks for reaches the curation, and what happened is told."""

from contextlib import nullcontext
from functools import partial

import pytest
from knee_series import picture, write_series

from mricore.data.curate import curate
from mricore.data.storage import place
from mricore.data.work import in_process
from mricore.errors import UserError
from mricore.report.data_card import CARD
from mricore.workflows.curate import CurationRequest, curate_job


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Runs the job on three exams, one of which is a copy; without Ray."""
    monkeypatch.setattr("mricore.workflows.curate.ray_session", nullcontext)
    monkeypatch.setattr("mricore.workflows.curate.curate", partial(curate, run=in_process))
    for patient in range(2):
        write_series(tmp_path / "in" / str(patient), patient, AccessionNumber=f"00{patient}")
    write_series(
        tmp_path / "in" / "2", 2, AccessionNumber="002", pixels=lambda _p, series, k: picture(0, series, k)
    )

    def run(policy="body", assignments=(), exams=None, columns=""):
        table = tmp_path / "exams.csv"
        table.write_text(exams or "")
        return curate_job(
            CurationRequest(
                str(tmp_path / "in"),
                str(tmp_path / "out"),
                policy,
                assignments,
                tmp_path / "key",
                str(table) if exams else None,
                columns,
            )
        )

    return run


def test_what_was_kept_left_out_and_repeated_is_told(asked, tmp_path, capsys):
    manifest = asked()
    told = capsys.readouterr().out
    assert "kept: 12 slices, 2 volumes, 2 exams, 2 patients\n" in told
    assert "left out: 6 x repeated_volume (image)\n" in told
    assert "repeats: 1 repeated volumes\n" in told
    for name in ("manifest.json", "audit.json", CARD):
        assert str(tmp_path / "out" / name) in told
        assert (tmp_path / "out" / name).exists()
    (tmp_path / "out" / CARD).unlink()
    assert asked() == manifest
    assert "nothing to do" in capsys.readouterr().out
    assert (tmp_path / "out" / CARD).exists()


@pytest.mark.parametrize(
    ("exams", "columns"),
    [
        ("accession;report type\n001;MR knee\n009;MR knee\n", ""),
        ("Fall;Befund;type\n001;MR knee;x\n009;MR knee;x\n", "accession=Fall,type=Befund"),
    ],
)
def test_only_exams_of_the_table_are_taken(asked, exams, columns):
    manifest = asked(exams=exams, columns=columns)
    assert manifest.counts["exams"] == 1
    assert {row["reason"]: row["count"] for row in manifest.rejected} == {"not_in_exam_table": 2}


def test_a_policy_and_single_settings_decide(asked, tmp_path):
    policy = tmp_path / "mine.toml"
    policy.write_text('[duplicates]\nrepeated_volumes = "keep"\n[sampling]\nexams_per_protocol = 2\n')
    asked(str(policy), ["curation.exams_per_protocol=3"])
    manifest = asked(str(policy), ["curation.exams_per_protocol=3"])
    assert manifest.counts["exams"] == 3
    assert manifest.provenance["policy"]["repeated_volumes"] == "keep"
    with pytest.raises(UserError, match="does not concern curation"):
        asked("body", ["train.epochs=1"])


def test_a_wrong_address_makes_no_key(asked, tmp_path):
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError):
        asked()
    assert not (tmp_path / "key").exists()
    assert not place(str(tmp_path / "out")).exists()
