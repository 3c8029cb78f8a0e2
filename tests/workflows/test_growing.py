"""A dataset that grows with its archive: nothing is lost, doubled, or done again."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from knee_series import write_series

from mricore.config.schema import Curation
from mricore.data.curate import curate, known_dataset
from mricore.data.job import Job
from mricore.data.manifest import MANIFEST, read_manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import place
from mricore.data.work import in_process
from mricore.errors import UserError

KEY = bytes(range(32))


def ids(dataset):
    manifest = read_manifest(dataset)
    return [one.slice_id for one in sample_slices(dataset, manifest, manifest.counts["slices"], 0)]


class Archive:
    """A source and a destination, and how often each pass had something to do."""

    def __init__(self, folder: Path):
        self.source, self.target = folder / "in", place(str(folder / "out"))
        self.done = Counter()

    def curate(self, policy=None, key=KEY, **changes):
        job = Job(place(str(self.source)), self.target, policy or Curation(**changes), key)
        return curate(job, self._run)

    def _run(self, work, items):
        for item in items:
            self.done[type(item).__name__] += 1
            yield item, work.do(item, frozenset())


@pytest.fixture
def archive(tmp_path):
    found = Archive(tmp_path)
    for patient in range(4):
        write_series(found.source / str(patient), patient)
    return found


def test_new_exams_are_added_in_new_shards_and_old_ones_stay_as_they_are(archive):
    first = archive.curate()
    before = {path: path.read_bytes() for path in Path(archive.target.uri, "shards").iterdir()}
    old = ids(archive.target)
    write_series(archive.source / "later", 7, slices=9)
    second = archive.curate()
    assert second.shards[: len(first.shards)] == first.shards
    assert all(path.read_bytes() == content for path, content in before.items())
    assert second.counts == {"slices": 33, "volumes": 5, "exams": 5, "patients": 5}
    found = ids(archive.target)
    assert len(set(found)) == len(found) == 33
    assert set(old) < set(found)
    assert [round_.slices for round_ in second.rounds] == [24, 9]
    assert sum(second.distributions["location"].values()) == 33


def test_a_dataset_knows_its_source_until_the_source_changes(archive):
    job = Job(place(str(archive.source)), archive.target, Curation(), KEY)
    assert known_dataset(job) is None
    manifest = archive.curate()
    assert known_dataset(job) == manifest
    written = Path(archive.target.uri, MANIFEST).stat().st_mtime_ns
    assert archive.curate() == manifest
    assert Path(archive.target.uri, MANIFEST).stat().st_mtime_ns == written
    write_series(archive.source / "later", 7)
    assert known_dataset(job) is None


def test_files_that_come_late_complete_a_volume(archive):
    """An export that is still running: what is no volume today may be one tomorrow."""
    write_series(archive.source / "9", 9, slices=3)
    assert archive.curate().counts["slices"] == 24
    write_series(archive.source / "9", 9, first=3, slices=5)
    assert archive.curate().counts["slices"] == 32


def test_a_volume_that_grew_after_it_was_stored_stays_as_it_was(archive):
    archive.curate()
    write_series(archive.source / "0", 0, first=6, slices=2)
    manifest = archive.curate()
    assert manifest.counts["slices"] == 24
    assert {"level": "volume", "reason": "changed_volume", "count": 1} in manifest.rejected


def test_another_source_adds_to_the_same_dataset(archive, tmp_path):
    """The export of the next month lies in another folder."""
    archive.curate()
    archive.source = tmp_path / "february"
    write_series(archive.source, 8)
    write_series(archive.source, 0)
    manifest = archive.curate()
    assert manifest.counts == {"slices": 30, "volumes": 5, "exams": 5, "patients": 5}
    assert len(set(ids(archive.target))) == 30


def test_exams_of_earlier_rounds_count_for_the_draw(archive, tmp_path):
    archive.curate(exams_per_protocol=4)
    archive.source = tmp_path / "february"
    write_series(archive.source, 8)
    write_series(archive.source, 1, series=2, StudyInstanceUID="1.1.9")
    manifest = archive.curate(exams_per_protocol=4)
    assert manifest.counts["exams"] == 4
    reasons = {row["reason"]: row["count"] for row in manifest.rejected}
    assert reasons == {"over_protocol_limit": 1, "other_exam_of_patient": 1}


def test_a_round_that_adds_nothing_is_a_round_all_the_same(archive):
    first = archive.curate()
    (archive.source / "readme.txt").write_text("nothing to see")
    second = archive.curate()
    assert second.shards == first.shards
    assert [round_.slices for round_ in second.rounds] == [24, 0]
    assert {"level": "file", "reason": "not_dicom", "count": 1} in second.rejected


def test_files_that_vanish_from_the_source_stay_in_the_dataset(archive):
    archive.curate()
    shutil.rmtree(archive.source / "0")
    write_series(archive.source / "5", 5)
    manifest = archive.curate()
    assert manifest.counts["patients"] == 5
    assert len(set(ids(archive.target))) == 30


class Stop(Exception):  # noqa: N818 - it stands for a killed process
    """The process ends here."""


@pytest.mark.faults
@pytest.mark.parametrize("steps", range(12))
def test_a_curation_that_stops_anywhere_goes_on_and_ends_the_same(tmp_path, steps):
    """After any number of finished tasks of any pass."""
    sources = tmp_path / "in"
    for patient in range(5):
        write_series(sources / str(patient), patient, slices=8)
    policy = Curation(slices_per_shard=8)
    whole = curate(Job(place(str(sources)), place(str(tmp_path / "whole")), policy, KEY), in_process)
    left = [steps]

    def stopping(work, items):
        for item in items:
            if left[0] == 0:
                raise Stop
            left[0] -= 1
            yield item, work.do(item, frozenset())

    job = Job(place(str(sources)), place(str(tmp_path / "out")), policy, KEY)
    try:
        curate(job, stopping)
    except Stop:
        assert not (tmp_path / "out" / MANIFEST).exists()
    again = curate(job, in_process)
    assert (again.digest, again.counts, again.rejected) == (whole.digest, whole.counts, whole.rejected)
    assert {file.path for file in job.destination.files()} == {
        file.path for file in place(str(tmp_path / "whole")).files()
    }


def test_what_was_read_is_not_read_again(archive, monkeypatch):
    """Headers of an unchanged source and pixels of stored volumes."""
    archive.curate()
    write_series(archive.source / "later", 7)
    opened = Counter()
    real = type(archive.target).reading

    def counting(self, path):
        if self.uri == str(archive.source):
            opened[path] += 1
        return real(self, path)

    monkeypatch.setattr(type(archive.target), "reading", counting)
    archive.curate()
    assert set(opened) >= {f"later/7-1-{k}.dcm" for k in range(6)}
    pixels_read_again = {path for path, times in opened.items() if times > 1 and not path.startswith("later")}
    assert pixels_read_again == set()


def test_a_damaged_index_is_read_anew(archive):
    manifest = archive.curate()
    for path in Path(archive.target.uri, "index").iterdir():
        path.write_bytes(path.read_bytes()[:-50])
    (archive.source / "readme.txt").write_text("a change")
    assert archive.curate().counts == manifest.counts


def test_a_damaged_ledger_is_told(archive):
    archive.curate()
    for path in Path(archive.target.uri, "ledger").iterdir():
        path.write_bytes(path.read_bytes()[:-50])
    (archive.source / "readme.txt").write_text("a change")
    with pytest.raises(UserError, match="damaged"):
        archive.curate()
