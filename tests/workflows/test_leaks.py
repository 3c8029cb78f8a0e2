"""Identifiers planted in every place that DICOM allows come out nowhere: files, output, logs, errors."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from jobs_apart import ROOT, all_files, environment, output_of
from planted import PLANTED, plant_identifiers, planted_in
from small_data import small_collection

from mricore.data.manifest import read_manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import place


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    small_collection(folder / "clean")
    plant_identifiers(folder / "clean", folder / "planted")
    return folder / "planted"


def curation(*arguments):
    return [sys.executable, "-u", str(ROOT / "jobs" / "curate.py"), *map(str, arguments)]


def test_the_search_finds_what_is_planted(archive):
    contents = [path.read_bytes() for path in all_files(archive)]
    found = {word for content in contents for word in planted_in(content)}
    assert found == set(PLANTED) - {"FILENAMESECRET"}  # which only names of files have


@pytest.fixture(scope="module")
def curated(archive):
    """A folder with all that two curations wrote, and all that they said."""
    folder = Path(tempfile.mkdtemp(prefix="m"))  # Ray's sockets need a short path
    (folder / "work").mkdir()
    table = folder / "table.csv"
    table.write_text("accession;report type\nACC5550123;MR knee of ZORBLATT\n")
    plain = curation(archive, folder / "out")
    listed = curation(archive, folder / "listed", "--exams", table)
    settings = environment(folder)
    yield folder, b"".join(output_of(command, folder / "work", settings) for command in (plain, listed))
    shutil.rmtree(folder, ignore_errors=True)


def test_no_planted_identifier_comes_out_of_a_curation(curated):
    folder, said = curated
    assert planted_in(said) == []
    folders = [folder / name for name in ("out", "listed", "work", "ray", ".mricore")]
    written = {str(path): path.read_bytes() for path in all_files(*folders)}
    leaks = {name: found for name, content in written.items() if (found := planted_in(content))}
    assert leaks == {}
    assert planted_in("\n".join(written).encode()) == []
    kinds = {name.rsplit("/", 2)[-2] for name in written if name.startswith(str(folder / "out"))}
    assert kinds >= {"shards", "ledger", "index", "out"}


def test_the_planted_archive_was_really_curated_and_overlays_are_gone(curated):
    """Else nothing could leak; bits above the stored ones held a pattern."""
    dataset = place(str(curated[0] / "out"))
    manifest = read_manifest(dataset)
    records = sample_slices(dataset, manifest, manifest.counts["slices"], 0)
    assert manifest.counts["slices"] > 100
    assert max(int(np.max(record.pixels)) for record in records) < 0x8000
    audit = json.loads(dataset.read_bytes("audit.json"))
    removed = {row["attribute"] for row in audit["removed"]}
    assert removed >= {"PatientName", "PatientBirthDate", "OverlayData", "private attributes"}


@pytest.mark.parametrize("place_of", ["file", "nowhere", "inside"])
def test_an_error_names_only_what_the_user_typed(archive, short_folder, place_of):
    (short_folder / "file").write_text("x")
    targets = {"file": short_folder / "file", "nowhere": short_folder / "out", "inside": archive / "out"}
    policy = ["--set", "curation.min_slices=500"]
    result = subprocess.run(
        curation(archive, targets[place_of], *policy),
        env=environment(short_folder),
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert result.returncode == 2
    said = result.stderr.replace(str(archive).encode(), b"")
    assert b"error: " in said
    assert planted_in(result.stdout + said) == []
