"""A dataset that grows with its archive: nothing is lost, doubled, or done again."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from knee_series import picture, write_series

from mricore.config.curation import Curation
from mricore.data.collect import Bucket
from mricore.data.curate import curate, known_dataset
from mricore.data.job import Job
from mricore.data.manifest import MANIFEST, read_manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import place
from mricore.data.work import in_process
from mricore.errors import UserError
from mricore.imaging.pseudonyms import Pseudonymizer

KEY = bytes(range(32))


def ids(dataset):
    manifest = read_manifest(dataset)
    return [one.slice_id for one in sample_slices(dataset, manifest, manifest.counts["slices"], 0)]


class Archive:
    """A source and a destination."""

    def __init__(self, folder: Path):
        self.source, self.target = folder / "in", place(str(folder / "out"))

    def curate(self, policy=None, key=KEY, **changes):
        job = Job(place(str(self.source)), self.target, policy or Curation(**changes), key)
        return curate(job, in_process)


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


def copy_of(patient):
    """Pixels of this patient's first series, whoever asks."""
    return lambda _patient, _series, number: picture(patient, 1, number)


def reasons(manifest):
    return {(row["level"], row["reason"]): row["count"] for row in manifest.rejected}


def write_flat(folder, patient, number):
    """One more slice of a series, of which all pixels are equal."""
    flat = np.full((80, 80), 7, np.uint16)
    write_series(folder, patient, first=number, slices=1, pixels=lambda *_: flat)


def test_copies_that_come_later_are_dropped_and_what_was_there_first_stays(archive):
    """Whatever their names: among as many copies some pseudonym comes before that of the original."""
    first = archive.curate()
    before = ids(archive.target)
    for round_, patients in enumerate((range(10, 18), range(20, 28)), 1):
        for patient in patients:
            write_series(archive.source / "copies" / str(patient), patient, pixels=copy_of(0))
        manifest = archive.curate()
        assert manifest.shards == first.shards
        assert manifest.counts == first.counts
        assert manifest.repeats["repeated_volumes"] == 8 * round_
        assert sorted(ids(archive.target)) == sorted(before)
        assert reasons(manifest)["image", "repeated_volume"] == 6 * 8 * round_


def test_empty_images_and_repeats_are_counted_over_the_whole_dataset(archive):
    write_flat(archive.source / "0", 0, 6)
    write_series(archive.source / "copy", 9, pixels=copy_of(1))
    archive.curate()
    write_series(archive.source / "5", 5)
    write_flat(archive.source / "5", 5, 6)
    write_series(archive.source / "again", 8, pixels=copy_of(1))
    found = reasons(archive.curate())
    assert found == {("image", "empty_image"): 2, ("image", "repeated_volume"): 12}


def darker(_patient, series, number):
    """The pictures of the first patient at half the brightness."""
    return picture(0, series, number) // 2


def test_near_duplicates_are_counted_and_kept_unless_the_policy_drops_them(archive, tmp_path):
    write_series(archive.source / "9", 9, pixels=darker)
    kept = archive.curate()
    assert (kept.counts["slices"], kept.rejected) == (30, ())
    assert kept.repeats == {
        **{"repeated_volumes": 0, "near_duplicates_in_series": 0},
        **{"near_duplicates_of_patient": 0, "near_duplicates_elsewhere": 6},
    }
    archive.target = place(str(tmp_path / "dropped"))
    dropped = archive.curate(near_duplicates="drop")
    assert dropped.counts["slices"] == 24
    assert reasons(dropped) == {("image", "near_duplicate"): 6}


def test_a_series_of_a_face_stays_out_though_its_exam_is_drawn(archive):
    write_series(archive.source / "0", 0, series=2, BodyPartExamined="HEAD")
    manifest = archive.curate()
    assert reasons(manifest) == {("series", "facial_anatomy"): 1}
    assert manifest.counts["slices"] == 24
    assert manifest.distributions["location"] == {"knee": 24}


def test_an_image_that_is_left_out_still_tells_that_a_face_is_near(archive):
    """Beside the scout of a head, unknown anatomy may show a face, even where unknown ones may enter."""
    scout = {"BodyPartExamined": "HEAD", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    for series, changes in ((1, {"BodyPartExamined": None}), (2, scout)):
        write_series(archive.source / "9", 9, series=series, StudyDescription=None, **changes)
    manifest = archive.curate(unknown_location="include")
    assert reasons(manifest) == {("series", "facial_anatomy"): 1, ("image", "localizer"): 6}
    assert manifest.counts["slices"] == 24


def test_another_table_of_exams_is_another_source(archive):
    def made(*patients, protocol="knee"):
        keys = [Pseudonymizer(KEY).exam_key(f"1.{patient}") for patient in patients]
        table = dict.fromkeys(keys, protocol)
        return curate(Job(place(str(archive.source)), archive.target, Curation(), KEY, table), in_process)

    assert made(0, 1).counts["exams"] == 2
    assert made(0, 1, 2).counts["exams"] == 3
    assert made(0, 1, 2, protocol="MR knee").counts["exams"] == 3
    assert len(read_manifest(archive.target).rounds) == 3
    assert made(0, 1).rounds == read_manifest(archive.target).rounds


def test_a_curation_that_finds_nothing_leaves_a_folder_and_a_dataset_as_they_were(archive, tmp_path):
    target = Path(archive.target.uri)
    target.mkdir()
    (target / "mine.txt").write_text("a note")
    source, archive.source = archive.source, tmp_path / "empty"
    archive.source.mkdir()
    with pytest.raises(UserError, match="no files"):
        archive.curate()
    assert [path.name for path in target.iterdir()] == ["mine.txt"]
    archive.source = source
    manifest = archive.curate()
    files = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    archive.source = tmp_path / "empty"
    with pytest.raises(UserError, match="no files"):
        archive.curate()
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == files
    assert read_manifest(archive.target) == manifest


def test_a_destination_whose_name_begins_like_the_source_lies_beside_it(tmp_path):
    write_series(tmp_path / "in", 1)
    job = Job(place(str(tmp_path / "in")), place(str(tmp_path / "in2")), Curation(), KEY)
    assert known_dataset(job) is None


@pytest.mark.parametrize(("source", "target"), [("in", "in/out"), ("out/in", "out"), ("in", "in")])
def test_neither_place_may_lie_in_the_other(tmp_path, source, target):
    write_series(tmp_path / source, 1)
    with pytest.raises(UserError, match="overlap"):
        known_dataset(Job(place(str(tmp_path / source)), place(str(tmp_path / target)), Curation(), KEY))


def stopping_before_shards(work, items):
    for item in items:
        if isinstance(item, Bucket):
            raise Stop
        yield item, work.do(item, frozenset())


def late_slice(archive):
    write_series(archive.source / "9", 9, first=3, slices=3)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("changes", "meanwhile"),
    [
        ({"min_slices": 3}, None),
        ({"spacing_tolerance": 0.9}, None),
        ({"seed": 1}, None),
        ({"slices_per_shard": 2, "slices_per_row_group": 2}, None),
        ({}, late_slice),
    ],
    ids=["min_slices", "spacing_tolerance", "seed", "slices_per_shard", "source"],
)
def test_what_was_done_before_an_interruption_is_not_taken_for_what_is_asked_now(
    archive, tmp_path, changes, meanwhile
):
    """The unfinished work was of another policy or of other files."""
    write_series(archive.source / "9", 9, slices=3)
    for number, z in enumerate((0, 4, 8, 14, 18)):
        place_ = {"first": number, "slices": 1, "ImagePositionPatient": [0, 0, z]}
        write_series(archive.source / "8", 8, **place_)
    with pytest.raises(Stop):
        curate(Job(place(str(archive.source)), archive.target, Curation(), KEY), stopping_before_shards)
    if meanwhile:
        meanwhile(archive)
    found = archive.curate(**changes)
    fresh = curate(
        Job(place(str(archive.source)), place(str(tmp_path / "fresh")), Curation(**changes), KEY), in_process
    )
    assert (found.digest, found.counts, found.rejected) == (fresh.digest, fresh.counts, fresh.rejected)
    assert found.ledger == fresh.ledger
    assert set(ids(archive.target)) == set(ids(place(str(tmp_path / "fresh"))))


def test_a_source_of_an_earlier_round_is_known_again(archive, tmp_path):
    first, archive.source = archive.source, tmp_path / "february"
    write_series(archive.source, 8)
    archive.curate()
    february, archive.source = archive.source, first
    manifest = archive.curate()
    for source in (first, february):
        assert known_dataset(Job(place(str(source)), archive.target, Curation(), KEY)) == manifest
