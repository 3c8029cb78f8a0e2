"""Curation of whole collections in a real Ray, against what is known of them."""

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from small_data import small_collection

from mricore.config.curation import Curation
from mricore.data.curate import curate
from mricore.data.job import Job
from mricore.data.manifest import MANIFEST
from mricore.data.sample import sample_slices
from mricore.data.storage import place
from mricore.data.work import in_process, in_tasks
from mricore.errors import UserError
from mricore.imaging.pseudonyms import Pseudonymizer

KEY = bytes(range(32))


def made(source, destination, policy=None, key=KEY, run=in_process):
    return curate(Job(source, destination, policy or Curation(), key), run)


def rejects(manifest):
    return {(row["level"], row["reason"]): row["count"] for row in manifest.rejected}


@pytest.fixture(scope="module")
def curated(tmp_path_factory, ray_cluster):
    folder = tmp_path_factory.mktemp("small")
    series = small_collection(folder / "dicom")
    manifest = made(place(str(folder / "dicom")), place(str(folder / "out")), run=in_tasks)
    return folder, series, manifest


def test_what_is_kept_and_left_out_is_what_the_collection_says(curated):
    _, series, manifest = curated
    kept = [one for one in series if one.expected == "kept"]
    assert manifest.counts["slices"] == sum(one.files for one in kept)
    assert manifest.counts["patients"] == 4
    echoes = sum(one.sequence == "multi-echo" for one in kept)
    assert manifest.counts["volumes"] == len(kept) + 2 * echoes
    assert rejects(manifest) == {
        ("image", "localizer"): sum(one.files for one in series if one.expected == "localizer"),
        ("series", "facial_anatomy"): sum(one.expected == "facial_anatomy" for one in series),
    }
    by_location = Counter()
    for one in kept:
        by_location[one.location] += one.files
    assert manifest.distributions["location"] == dict(by_location)


def test_stored_pixels_are_those_of_the_files_bit_for_bit(curated):
    folder, _, manifest = curated
    records = sample_slices(place(str(folder / "out")), manifest, manifest.counts["slices"], seed=0)
    stored = {record.slice_id: record for record in records}
    assert len(stored) == manifest.counts["slices"]
    pseudonymizer, found = Pseudonymizer(KEY), 0
    for path in (folder / "dicom").rglob("IM*"):
        dataset = pydicom.dcmread(path)
        record = stored.get(
            pseudonymizer.pseudonym(
                *("slice", f"/{dataset.PatientID}", str(dataset.StudyInstanceUID)),
                *(str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID), "0"),
            )
        )
        if record is not None:
            found += 1
            np.testing.assert_array_equal(record.pixels, dataset.pixel_array)
            assert record.pixels.dtype.itemsize == 2
            assert record.slope == float(dataset.get("RescaleSlope", 1))
    assert found == len(stored)


def test_curating_again_returns_the_same_and_elsewhere_gives_the_same_digest(curated):
    folder, _, manifest = curated
    source = place(str(folder / "dicom"))
    before = (folder / "out" / MANIFEST).stat().st_mtime_ns
    assert made(source, place(str(folder / "out"))) == manifest
    assert (folder / "out" / MANIFEST).stat().st_mtime_ns == before
    assert made(source, place(str(folder / "again"))).digest == manifest.digest
    other_key = made(source, place(str(folder / "other")), key=KEY[::-1])
    assert other_key.counts == manifest.counts
    assert other_key.digest != manifest.digest


def test_another_policy_or_a_changed_source_does_not_overwrite(curated):
    folder, _, _ = curated
    with pytest.raises(UserError, match=r"another policy \(min_slices differ"):
        made(place(str(folder / "dicom")), place(str(folder / "out")), Curation(min_slices=7))
    with pytest.raises(UserError, match="overlap"):
        made(place(str(folder / "dicom")), place(str(folder / "dicom" / "out")))


def test_one_bad_file_never_stops_a_run(curated, tmp_path):
    folder, series, _ = curated
    kept = next(one for one in series if one.expected == "kept")
    source = tmp_path / "in"
    source.mkdir()
    for number, path in enumerate(sorted((folder / "dicom" / kept.path).iterdir())):
        (source / f"{number}").write_bytes(path.read_bytes())
    (source / "text").write_text("no DICOM")
    (source / "cut").write_bytes((source / "0").read_bytes()[:700])
    (source / "copy").write_bytes((source / "1").read_bytes())
    damaged = pydicom.dcmread(io.BytesIO((source / "2").read_bytes()))
    damaged.SeriesInstanceUID = "1.2.3"
    for number in range(5):
        damaged.SOPInstanceUID = f"1.2.3.{number}"
        damaged.ImagePositionPatient = [0, 0, number]
        damaged.PixelData = b"\0" * 64
        damaged.save_as(source / f"damaged{number}")
    manifest = made(place(str(source)), place(str(tmp_path / "out")))
    assert manifest.counts["slices"] == kept.files
    found = rejects(manifest)
    assert found["file", "not_dicom"] == 1
    assert found["image", "duplicate_image"] == 1
    assert found["volume", "unreadable_pixels"] == 1
    assert sum(count for (level, _), count in found.items() if level == "file") == 2


def test_nothing_usable_is_one_clear_line(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="no files"):
        made(place(str(tmp_path / "in")), place(str(tmp_path / "out")))
    (tmp_path / "in" / "a").write_text("x")
    with pytest.raises(UserError, match="1 not_dicom"):
        made(place(str(tmp_path / "in")), place(str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.faults
@pytest.mark.parametrize("when", [1, 2], ids=["headers", "pixels"])
def test_an_outage_of_the_source_is_no_reject(curated, tmp_path, when):
    """Files that vanish as a whole while curation runs must not end as a smaller dataset."""
    folder, _, _ = curated
    source = place(str(tmp_path / "in"))
    shutil.copytree(folder / "dicom", source.uri)
    passes = []

    def vanishing(work, items):
        passes.append(work)
        for item in items:
            if len(passes) == when:
                shutil.rmtree(source.uri, ignore_errors=True)
            yield item, work.do(item, frozenset())

    with pytest.raises(UserError, match="nothing found"):
        made(source, place(str(tmp_path / "out")), run=vanishing)
    assert not (tmp_path / "out" / MANIFEST).exists()


@pytest.mark.faults
def test_what_an_interrupted_curation_left_is_removed(curated, tmp_path):
    """Files of another policy may hold what this one leaves out."""
    folder, _, manifest = curated
    key = "0123456789abcdef" * 2
    names = ("shards/000999-01234567", f"index/{key}", f"ledger/{key}", f"ledger/dropped-{key}")
    stale = [tmp_path / f"{name}.parquet" for name in names] + [tmp_path / f"work/{key}-0.arrow"]
    for path in [*stale, tmp_path / "shards/.x.tmp"]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"faces")
    assert made(place(str(folder / "dicom")), place(str(tmp_path))).digest == manifest.digest
    assert not any(path.exists() for path in stale)
    assert not (tmp_path / "work").exists()


def test_files_of_others_in_the_destination_are_left_alone(curated, tmp_path):
    """A user's own folder may be called work, too; also if nothing could be curated."""
    folder, _, _ = curated
    own = [tmp_path / name for name in ("work/thesis.doc", "index/cards.txt", "shards/of/glass.parquet")]
    for path in own:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"mine")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "letter").write_bytes(b"x")
    for source in (folder / "dicom", tmp_path.parent / "empty"):
        source.mkdir(exist_ok=True)
    (tmp_path.parent / "empty" / "letter").write_text("x")
    with pytest.raises(UserError, match="no usable"):
        made(place(str(tmp_path.parent / "empty")), place(str(tmp_path)))
    made(place(str(folder / "dicom")), place(str(tmp_path)))
    assert all(path.read_bytes() == b"mine" for path in own)


def test_a_destination_that_is_a_file_is_told_before_any_file_is_read(curated, tmp_path):
    folder, _, _ = curated
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="not a folder"):
        made(place(str(folder / "dicom")), place(str(tmp_path / "file")))


def test_another_key_may_not_add_to_a_dataset(curated):
    """Its pseudonyms would make every patient two."""
    folder, _, _ = curated
    with pytest.raises(UserError, match="another key"):
        made(place(str(folder / "dicom")), place(str(folder / "out")), key=KEY[::-1])


@pytest.mark.real_data
def test_real_mri_is_kept_and_heads_are_left_out(real_data: Path, tmp_path):
    manifest = made(place(str(real_data / "dicom")), place(str(tmp_path / "out")))
    assert manifest.counts == {"slices": 269, "volumes": 17, "exams": 10, "patients": 10}
    assert manifest.distributions["location"] == {"pelvis": 221, "knee": 48}
    assert rejects(manifest) == {("series", "facial_anatomy"): 3, ("series", "unknown_anatomy"): 1}


@pytest.mark.real_data
def test_real_edge_cases_are_kept_or_have_their_reason(real_data: Path, tmp_path):
    """A mosaic, an Enhanced object, several compressions; CT, a report, and what lost its geometry."""
    with pytest.raises(UserError) as caught:
        made(place(str(real_data / "dicom_edge_cases")), place(str(tmp_path / "out")))
    for part in ("6 no_geometry", "4 not_mr", "3 facial_anatomy", "2 unknown_anatomy"):
        assert part in str(caught.value)
    policy = Curation(
        unknown_location="include", exclude_locations=(), min_slices=1, one_exam_per_patient=False
    )
    manifest = made(place(str(real_data / "dicom_edge_cases")), place(str(tmp_path / "all")), policy)
    assert manifest.counts == {"slices": 70, "volumes": 4, "exams": 4, "patients": 3}
    assert manifest.distributions["vendor"] == {"siemens": 60, "philips": 8, "canon": 2}
    assert rejects(manifest) == {
        ("file", "no_geometry"): 6,
        ("file", "not_mr"): 4,
        ("image", "repeated_volume"): 2,  # one image in several compressions
        ("volume", "gap"): 1,
    }
