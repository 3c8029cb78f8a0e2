"""What may go wrong while an archive is curated: it is told, or made good the next time."""

from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from dicom_files import to_bytes
from enhanced_files import at, enhanced
from knee_series import picture, write_series

from mricore.config.curation import Curation
from mricore.data.curate import curate, known_dataset
from mricore.data.job import Job
from mricore.data.manifest import MANIFEST, read_manifest, write_manifest
from mricore.data.storage import Place, place
from mricore.data.work import in_process
from mricore.errors import UserError

KEY = b"k" * 32
pytestmark = pytest.mark.faults


@pytest.fixture
def job(tmp_path):
    for patient in range(3):
        write_series(tmp_path / "in" / str(patient), patient)
    return Job(place(str(tmp_path / "in")), place(str(tmp_path / "out")), Curation(), KEY)


def rejects(manifest):
    return {(row["level"], row["reason"]): row["count"] for row in manifest.rejected}


@pytest.mark.parametrize("method", ["reading", "read_bytes"], ids=["header", "pixels"])
def test_a_passing_fault_of_the_disk_is_made_good_the_next_time(job, monkeypatch, method):
    """Neither name, size nor time of the file changes."""
    real = getattr(Place, method)

    def failing(self, path):
        if path == "1/1-1-3.dcm":
            raise UserError("input/output error", "check the disk")
        return real(self, path)

    monkeypatch.setattr(Place, method, failing)
    assert curate(job, in_process).counts["slices"] == 12
    monkeypatch.undo()
    assert known_dataset(job) is None
    assert curate(job, in_process).counts["slices"] == 18
    assert known_dataset(job) is not None


@pytest.mark.parametrize("skipping", [1, 2], ids=["header", "pixels"])
def test_files_that_were_taken_for_killers_get_another_chance(job, skipping):
    """A machine short of memory looks like a file that crashes its reader."""
    passes = []

    def skips(work, items):
        passes.append(work)
        for item in items:
            yield item, work.do(item, frozenset({3} if len(passes) == skipping else ()))

    first = curate(job, skips)
    assert first.counts["slices"] < 18
    assert curate(job, in_process).counts["slices"] == 18


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_was_replaced_after_its_header_was_read_is_not_stored(job, same_size):
    """It may be of another patient, or of a head."""
    passes = []
    path = Path(job.source.uri, "1", "1-1-3.dcm")

    def replacing(work, items):
        passes.append(work)
        for item in items:
            if len(passes) == 2:
                path.write_bytes(path.read_bytes() + (b"" if same_size else b"\0\0"))
            yield item, work.do(item, frozenset())

    manifest = curate(job, replacing)
    assert rejects(manifest) == {("volume", "unreadable_pixels"): 1}
    assert known_dataset(job) is None


def test_an_empty_mount_point_is_an_outage(job, tmp_path):
    """As after an unmount: the folder is there, and nothing in it."""

    def unmounting(work, items):
        for item in items:
            with suppress(FileNotFoundError):
                Path(job.source.uri).rename(tmp_path / "elsewhere")
                Path(job.source.uri).mkdir()
            yield item, work.do(item, frozenset())

    with pytest.raises(UserError, match="nothing found"):
        curate(job, unmounting)
    Path(job.source.uri).rmdir()
    (tmp_path / "elsewhere").rename(job.source.uri)
    assert curate(job, in_process).counts["slices"] == 18


def test_another_curation_into_the_same_place_is_noticed(job):
    passes = []

    def meanwhile(work, items):
        passes.append(work)
        if len(passes) == 3:
            write_series(Path(job.source.uri) / "9", 9)
            curate(job, in_process)
        for item in items:
            yield item, work.do(item, frozenset())

    with pytest.raises(UserError, match="got other slices"):
        curate(job, meanwhile)
    manifest = read_manifest(job.destination)
    assert manifest.counts["slices"] == 24
    assert all(job.destination.exists(shard.path) for shard in manifest.shards)


def test_what_a_kill_after_the_manifest_left_is_removed(job):
    manifest = curate(job, in_process)
    left = Path(job.destination.uri, "work", f"{'0' * 32}-0.arrow")
    left.parent.mkdir()
    left.write_bytes(b"faces")
    assert known_dataset(job) == manifest
    assert not left.exists()


def test_a_face_in_an_image_without_patient_condemns_its_series(job):
    """The study and series are told by their UIDs alone."""
    folder = Path(job.source.uri) / "1"
    write_series(folder, 1, first=6, slices=1, BodyPartExamined="HEAD", PatientID=None)
    manifest = curate(job, in_process)
    assert manifest.counts["slices"] == 12
    assert rejects(manifest)["series", "facial_anatomy"] == 2


def test_a_face_that_a_later_file_tells_is_not_passed_over(job):
    curate(job, in_process)
    write_series(Path(job.source.uri) / "1", 1, first=6, slices=1, BodyPartExamined="HEAD")
    with pytest.raises(UserError, match="must stay out"):
        curate(job, in_process)
    assert len(read_manifest(job.destination).rounds) == 1


def test_a_damaged_frame_costs_its_own_volume_alone(job):
    """Two stacks in one Enhanced object; the pixels of one frame have values above the stored bits."""
    pixels = np.stack([picture(7, k) for k in range(12)])
    pixels[2, 5, 5] = 60000
    groups = [at(0, 0, 4 * (k % 6), FrameContentSequence={"StackID": str(k // 6)}) for k in range(12)]
    image = enhanced(pixels, groups, PatientID="P7", StudyInstanceUID="1.7", StudyDescription="MR KNEE")
    (Path(job.source.uri) / "several").write_bytes(to_bytes(image))
    manifest = curate(job, in_process)
    assert manifest.counts["slices"] == 18 + 6
    assert rejects(manifest) == {("volume", "unreadable_pixels"): 1}


def test_of_two_copies_the_whole_one_is_used(job):
    whole = Path(job.source.uri) / "1" / "1-1-3.dcm"
    (Path(job.source.uri) / "0first").write_bytes(whole.read_bytes())
    content = bytearray(whole.read_bytes())
    content[-1] = 0xFF  # above the stored bits
    whole.write_bytes(bytes(content))
    manifest = curate(job, in_process)
    assert manifest.counts["slices"] == 18
    assert rejects(manifest) == {("image", "duplicate_image"): 1}
    (Path(job.source.uri) / "0first").rename(Path(job.source.uri) / "9last")
    other = Job(job.source, place(f"{job.destination.uri}2"), job.policy, KEY)
    assert curate(other, in_process).counts["slices"] == 18


def test_unfinished_work_that_is_damaged_is_done_anew(job):
    """Ledger and index of a curation that was killed before it wrote its manifest."""
    whole = curate(job, in_process)
    for path in Path(job.destination.uri, "ledger").iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    Path(job.destination.uri, MANIFEST).unlink()
    again = curate(job, in_process)
    assert (again.digest, again.counts) == (whole.digest, whole.counts)


def test_months_in_folders_of_their_own_fill_buckets_evenly(job, tmp_path, monkeypatch):
    """Of a dataset that is larger than its next source."""
    curate(job, in_process)
    buckets = []
    monkeypatch.setattr("mricore.data.parts.bucket_of", lambda order, count: buckets.append(count) or 0)
    for patient in range(20, 30):
        write_series(tmp_path / "february" / str(patient), patient)
    small = Curation(slices_per_shard=3)
    manifest = read_manifest(job.destination)
    provenance = {**manifest.provenance, "policy": small.model_dump(mode="json")}
    write_manifest(job.destination, type(manifest)(**{**vars(manifest), "provenance": provenance}))
    curate(Job(place(str(tmp_path / "february")), job.destination, small, KEY), in_process)
    assert Counter(buckets).keys() == {5}


@pytest.mark.parametrize("generated", [True, False])
def test_a_dataset_of_phantoms_says_so(job, generated):
    """Their models never take the alias from those of patients."""
    phantoms = Job(job.source, job.destination, job.policy, KEY, generated_phantoms=generated)
    assert curate(phantoms, in_process).generated_phantoms is generated
    assert read_manifest(job.destination).generated_phantoms is generated


@pytest.mark.parametrize("folder", ["index", "ledger"])
def test_a_flipped_bit_in_what_is_remembered_is_noticed(job, folder):
    """Parquet itself would give other values without a word."""
    whole = curate(job, in_process)
    for path in Path(job.destination.uri, folder).iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 4
        path.write_bytes(bytes(content))
    Path(job.destination.uri, MANIFEST).unlink()
    again = curate(job, in_process)
    assert (again.digest, again.counts) == (whole.digest, whole.counts)


def test_near_duplicates_are_counted_by_where_the_first_of_them_is(job):
    """Of one series, of another one of the patient, of another patient."""
    folder = Path(job.source.uri)
    write_series(folder / "1", 1, series=2, slices=5, pixels=lambda _p, _s, k: picture(1, 1, k) // 2)
    write_series(folder / "7", 7, slices=5, pixels=lambda _p, _s, k: picture(2, 1, k) // 2)
    write_series(folder / "8", 8, slices=10, pixels=lambda _p, _s, k: picture(8, k % 5) // (1 + k // 5))
    assert curate(job, in_process).repeats == {
        "repeated_volumes": 0,
        "near_duplicates_in_series": 5,
        "near_duplicates_of_patient": 5,
        "near_duplicates_elsewhere": 5,
    }
