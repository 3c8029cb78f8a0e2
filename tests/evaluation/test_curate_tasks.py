"""Images of labelled tasks as slices for pretraining: the pool alone, as stored, once, and proven so."""

import json

import numpy as np
import pytest
from knee_series import picture, write_series
from task_files import declared, write_dicom, write_nifti, write_png

from mricore.config.curation import Curation
from mricore.config.task import load_task
from mricore.data import stacks
from mricore.data.curate import curate
from mricore.data.job import Job
from mricore.data.manifest import read_manifest
from mricore.data.shards import read_rows
from mricore.data.storage import place
from mricore.data.work import in_process
from mricore.errors import UserError
from mricore.evaluation.tasks.leaks import find_leaks
from mricore.evaluation.tasks.reading import read_volumes
from mricore.imaging.phantoms.labelled import LabelledSpec, write_labelled
from mricore.imaging.pseudonyms import load_or_create_key
from mricore.report.data_card import CARD
from mricore.workflows.curate_tasks import TaskCurationRequest, curate_tasks_job

SHARES = {"pool": 0.5, "development": 0.25, "test": 0.25}
PEOPLE = tuple(f"smith{number}" for number in range(8))
LISTS = {"pool": PEOPLE[:4], "development": PEOPLE[4:6], "test": PEOPLE[6:]}
SLICES = 6


def series(seed, slices=SLICES):
    """Slices (slices, rows, columns) that look like nothing else."""
    return np.stack([picture(seed, number) for number in range(slices)])


def write_case(root, name, image, change=0):
    """A NIfTI volume of (slices, rows, columns) with a mask."""
    mask = np.zeros(image.shape, np.uint8)
    mask[2, 10 + change : 30, 20:40] = 1
    write_nifti(root, name, image.transpose(1, 2, 0), mask.transpose(1, 2, 0))


def toml(value):
    """A value as a TOML file writes it; sections as inline tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


class Desk:
    """A folder with a task, and the command."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "data"
        self.out = place(str(folder / "out"))
        self.key = folder / "key"

    def declare(self, pretraining=None, kind="nifti", **changes):
        """The path of a declaration; without a word on pretraining the images are of knees."""
        changes.setdefault("split", LISTS)
        task = declared(kind, **changes).model_dump(exclude_none=True)
        task["pretraining"] = {"location": "knee"} if pretraining is None else pretraining
        path = self.folder / "made.toml"
        path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in task.items()))
        return str(path)

    def run(self, *tasks, settings=()):
        named = [f"{task}={self.root}" if "=" not in task else task for task in tasks]
        return curate_tasks_job(TaskCurationRequest(self.out.uri, named, "body", settings, self.key))

    def records(self):
        """All stored slices, by volume in order."""
        manifest = read_manifest(self.out)
        found = [
            record
            for shard in manifest.shards
            for group, rows in enumerate(shard.row_groups)
            for record in read_rows(self.out, shard.path, group, range(rows))
        ]
        return sorted(found, key=lambda one: (one.volume_id, one.index))

    def archive(self, *patients, pixels=picture):
        """DICOM files of knees, and their curation into the same place."""
        for patient in patients:
            write_series(self.folder / "dicom" / str(patient), patient, pixels=pixels)
        key = load_or_create_key(self.key)
        return curate(Job(place(str(self.folder / "dicom")), self.out, Curation(), key), in_process)


@pytest.fixture
def desk(tmp_path):
    """A task of eight patients with a volume each."""
    one = Desk(tmp_path)
    for seed, name in enumerate(PEOPLE):
        write_case(one.root, name, series(seed).astype(np.int16))
    return one


def rejects(manifest):
    return {(row["level"], row["reason"]): row["count"] for row in manifest.rejected}


@pytest.mark.parametrize("split", [LISTS, SHARES])
def test_the_pool_gets_in_and_nobody_who_is_judged_as_the_leak_check_proves(desk, split, capsys):
    task = desk.declare(split=split)
    manifest = desk.run(task)
    assert manifest.counts == {"slices": 4 * SLICES, "volumes": 4, "exams": 4, "patients": 4}
    assert rejects(manifest) == {("volume", "judged_patient"): 4}
    labelled = read_volumes(load_task(task), desk.root)
    seen = find_leaks(labelled, desk.out)
    assert dict(seen.parts) == {"pool": 4, "development": 0, "test": 0}
    assert sum(len(places) for places in seen.found.values()) == 4 * SLICES
    for left in ("development", "test"):
        others = {"development", "test", "pool"} - {left}
        alone = labelled.without(others.pop()).without(others.pop())
        assert len(alone.volumes) == 2
        assert find_leaks(alone, desk.out).verdict == "none"
    told = capsys.readouterr().out
    assert "24 slices of 4 patients of the pool; patients left out: 2 of development, 2 of test" in told
    assert "leaks: development and test of made: of 24 slices none is in the pretraining data" in told


@pytest.mark.parametrize(
    "form",
    [
        lambda image: image,
        lambda image: (image.astype(np.int32) - 2000).astype(np.int16),
        lambda image: (image // 16).astype(np.uint8),
        lambda image: image.astype(np.float32),
    ],
)
def test_whole_numbers_are_stored_bit_for_bit_with_statistics(desk, form):
    for seed, name in enumerate(PEOPLE):
        write_case(desk.root, name, form(series(seed)))
    desk.run(desk.declare())
    images = {int(form(series(seed)).astype(np.int64).sum()): form(series(seed)) for seed in range(4)}
    records = desk.records()
    for number in range(0, len(records), SLICES):
        volume = records[number : number + SLICES]
        stored = np.stack([one.pixels for one in volume])
        image = images.pop(int(stored.astype(np.int64).sum()))
        np.testing.assert_array_equal(stored, image)
        for one, pixels in zip(volume, image, strict=True):
            assert (one.slope, one.intercept, one.slices_in_volume) == (1, 0, SLICES)
            assert (one.slice_intensity.minimum, one.slice_intensity.maximum) == (pixels.min(), pixels.max())
            assert one.slice_intensity.p99_5 == pytest.approx(np.percentile(pixels, 99.5))
            assert (one.volume_intensity.minimum, one.volume_intensity.maximum) == (image.min(), image.max())
            assert one.volume_intensity.p0_5 == pytest.approx(np.percentile(image, 0.5))
            assert (one.spacing_slice, one.spacing_row, one.spacing_column) == (5, 1.5, 2)
    assert not images


def test_decimal_numbers_are_rounded_to_65536_steps_of_their_volume(desk, capsys):
    for seed, name in enumerate(PEOPLE):
        write_case(desk.root, name, series(seed).astype(np.float32) / 7)
    desk.run(desk.declare())
    assert "4 volumes of decimal numbers rounded to 16 bits" in capsys.readouterr().out
    for one in desk.records():
        real = one.slope * one.pixels.astype(np.float64) + one.intercept
        near = [series(seed).astype(np.float32)[one.index] / 7 for seed in range(4)]
        assert min(np.abs(real - other).max() for other in near) <= 0.501 * one.slope
        assert one.slope < 4100 / 7 / 65000


def test_masks_change_nothing(desk, tmp_path):
    first = desk.run(desk.declare())
    other = Desk(tmp_path / "other")
    other.folder.mkdir()
    other.key = desk.key
    for seed, name in enumerate(PEOPLE):
        write_case(other.root, name, series(seed).astype(np.int16), change=5)
    assert other.run(other.declare()).digest == first.digest


def test_slices_that_a_task_excludes_as_empty_are_taken(desk):
    assert desk.run(desk.declare(exclude_empty=True)).counts["slices"] == 4 * SLICES


def test_no_name_of_a_file_or_patient_gets_in(desk, capsys):
    desk.run(desk.declare())
    files = [path for path in (desk.folder / "out").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"manifest.json", "audit.json", CARD}
    assert not [path for path in files if b"smith" in path.read_bytes() or "smith" in path.name]
    assert "smith" not in capsys.readouterr().out


def test_the_same_images_are_added_once_whatever_the_task_is_called(desk, capsys):
    task = desk.declare()
    manifest = desk.run(task)
    before = {path: path.read_bytes() for path in (desk.folder / "out").rglob("*") if path.is_file()}
    for again in (task, f"{task}:near", f"{task}:any"):
        assert desk.run(again) == manifest
    assert {path: path.read_bytes() for path in (desk.folder / "out").rglob("*") if path.is_file()} == before
    assert capsys.readouterr().out.count("nothing to do") == 3


def test_new_patients_of_the_pool_are_added(desk):
    desk.run(desk.declare())
    write_case(desk.root, "jones", series(20).astype(np.int16))
    manifest = desk.run(desk.declare(split={**LISTS, "pool": (*LISTS["pool"], "jones")}))
    assert manifest.counts["patients"] == 5
    assert [round_.slices for round_ in manifest.rounds] == [4 * SLICES, SLICES]
    assert len({one.slice_id for one in desk.records()}) == 5 * SLICES


def test_a_killed_command_goes_on_and_makes_the_same_dataset(desk, monkeypatch):
    task = desk.declare()
    with monkeypatch.context() as patch:
        patch.setattr(stacks, "write_shards", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            desk.run(task)
    assert not desk.out.exists("manifest.json")
    with monkeypatch.context() as patch:
        patch.setattr(stacks, "measure", lambda *_: pytest.fail("read again"))
        manifest = desk.run(task)
    assert not desk.out.names("work")
    other = Desk(desk.folder)
    other.out = place(str(desk.folder / "undisturbed"))
    assert other.run(task).digest == manifest.digest


@pytest.mark.parametrize("first", ["archive", "task"])
def test_a_dataset_holds_archives_and_tasks(desk, first):
    task = desk.declare()
    steps = [lambda: desk.archive(50, 51), lambda: desk.run(task)]
    for step in steps if first == "archive" else steps[::-1]:
        manifest = step()
    assert manifest.counts == {"slices": 6 * SLICES, "volumes": 6, "exams": 6, "patients": 6}
    assert [round_.slices for round_ in manifest.rounds] == ([12, 24] if first == "archive" else [24, 12])
    assert desk.run(task) == desk.archive() == manifest
    assert manifest.distributions["location"] == {"knee": 6 * SLICES}
    assert len({one.slice_id for one in desk.records()}) == 6 * SLICES


def test_an_archive_with_slices_of_a_judged_patient_is_refused_and_nothing_changes(desk):
    """The same images as DICOM, under other names: only their looks tell."""
    before = desk.archive(60, pixels=lambda _patient, _series, number: picture(7, number))
    files = set((desk.folder / "out").rglob("*"))
    with pytest.raises(UserError, match="judged by task made"):
        desk.run(desk.declare())
    assert read_manifest(desk.out) == before
    assert set((desk.folder / "out").rglob("*")) == files


def test_a_new_dataset_that_would_leak_is_not_made(desk):
    write_case(desk.root, "twin", (series(7) * 3).astype(np.uint16))
    with pytest.raises(UserError, match="judged by task made"):
        desk.run(desk.declare(split={**LISTS, "pool": (*LISTS["pool"], "twin")}))
    assert not (desk.folder / "out").exists()


def test_a_patient_who_is_judged_from_now_on_is_refused(desk):
    manifest = desk.run(desk.declare())
    moved = {"pool": PEOPLE[:3], "development": PEOPLE[4:6], "test": (*PEOPLE[6:], PEOPLE[3])}
    with pytest.raises(UserError, match="holds slices of patients who are judged"):
        desk.run(desk.declare(split=moved))
    assert read_manifest(desk.out) == manifest


def test_tasks_that_disagree_on_who_is_judged_are_refused(desk):
    first = desk.declare()
    (desk.folder / "first.toml").write_text((desk.folder / "made.toml").read_text())
    second = desk.declare(split={"pool": PEOPLE[4:], "test": PEOPLE[:4]}, name="other")
    assert first == second
    with pytest.raises(UserError, match="judged by another"):
        desk.run(str(desk.folder / "first.toml"), second)
    assert not (desk.folder / "out").exists()


@pytest.mark.parametrize(
    ("pretraining", "settings", "reason"),
    [
        ({"location": "brain"}, (), "facial_anatomy"),
        ({"location": "brain", "shows_face": False}, (), None),
        ({}, (), "unknown_anatomy"),
        ({}, ("curation.unknown_location=include",), None),
        ({"location": "knee", "shows_face": True}, (), "facial_anatomy"),
    ],
)
def test_faces_stay_out_unless_the_declaration_says_that_there_is_none(desk, pretraining, settings, reason):
    task = desk.declare(pretraining)
    if reason is None:
        assert desk.run(task, settings=settings).counts["slices"] == 4 * SLICES
        return
    with pytest.raises(UserError) as refused:
        desk.run(task, settings=settings)
    assert f"4 {reason}" in refused.value.remedy
    assert not (desk.folder / "out").exists()


def test_a_task_of_faces_changes_no_dataset_that_is_there(desk, capsys):
    before = desk.archive(50)
    assert desk.run(desk.declare({"location": "head"})) == before
    assert "4 x facial_anatomy" in capsys.readouterr().out


def test_what_does_not_fit_is_left_out_with_a_reason(desk):
    people = [f"jones{number}" for number in range(4)]
    write_case(desk.root, people[0], series(30)[:, :40, :40])
    write_case(desk.root, people[1], series(31)[:4])
    write_case(desk.root, people[2], series(32))
    (desk.root / "images" / f"{people[2]}.nii.gz").write_bytes(b"cut")
    write_case(desk.root, people[3], series(33))
    (desk.root / "labels" / f"{people[3]}.nii.gz").unlink()
    manifest = desk.run(desk.declare(split={**LISTS, "pool": (*LISTS["pool"], *people)}))
    assert manifest.counts["volumes"] == 4
    assert rejects(manifest) == {
        ("image", "too_small"): SLICES,
        ("volume", "too_few_slices"): 1,
        ("volume", "unreadable_pixels"): 1,
        ("volume", "unusable_case"): 1,
        ("volume", "judged_patient"): 4,
    }


def test_the_declaration_tells_categories_with_their_evidence(desk):
    categories = {"vendor": {"of": "{case}", "values": dict.fromkeys(PEOPLE[:2], "GE")}}
    told = {"location": "knee", "sequence": "pd", "vendor": "siemens", "plane": "sagittal"}
    desk.run(desk.declare(told, categories=categories))
    records = desk.records()
    assert {(one.sequence, one.sequence_evidence, one.plane) for one in records} == {
        ("PD", "TaskDeclaration", "sagittal")
    }
    assert sorted(one.vendor for one in records) == ["ge"] * 2 * SLICES + ["siemens"] * 2 * SLICES
    assert "sagittal" in (desk.folder / "out" / CARD).read_text()
    with pytest.raises(UserError, match="sequence = 'fast' is not known"):
        desk.run(desk.declare({"sequence": "fast"}))


@pytest.mark.parametrize(
    ("pretraining", "told"),
    [({"location": "moon"}, r"\[pretraining\] location"), ({"locations": "knee"}, r"\[pretraining\] key")],
)
def test_a_mistake_in_the_declaration_is_told_with_its_place(desk, pretraining, told):
    with pytest.raises(UserError, match=told):
        desk.run(desk.declare(pretraining))


def test_what_pretraining_makes_of_a_task_changes_no_digest_of_it(desk):
    digests = {
        read_volumes(load_task(desk.declare(told)), desk.root).digest
        for told in ({}, {"location": "knee"}, {"shows_face": False, "plane": "axial"})
    }
    assert len(digests) == 1


@pytest.mark.parametrize(("turn", "expected"), [(0, "unknown"), ("header", "axial")])
def test_the_plane_is_that_of_the_header_where_the_task_relies_on_it(desk, turn, expected):
    assert desk.run(desk.declare(turn=turn)).distributions["plane"] == {expected: 4 * SLICES}


def test_png_slices_are_taken_too(desk):
    for number, name in enumerate(PEOPLE):
        for index, pixels in enumerate(series(number)):
            write_png(desk.root / f"{name}-{index}.png", pixels)
            write_png(desk.root / f"masks/{name}-{index}.png", (pixels > 2000).astype(np.uint8))
    named = {
        "images": "{patient}-{slice}.png",
        "masks": "masks/{patient}-{slice}.png",
        "patient": "{patient}",
    }
    manifest = desk.run(desk.declare(kind="png", spacing=(5.0, 1.0, 2.0), **named))
    assert manifest.counts["slices"] == 4 * SLICES
    assert {one.plane for one in desk.records()} == {"unknown"}
    known = {series(seed)[index].tobytes() for seed in range(4) for index in range(SLICES)}
    assert {one.pixels.tobytes() for one in desk.records()} == known


@pytest.fixture
def dicom(desk):
    """The same as DICOM series, with identifiers; masks are PNG. Patients have their names in the headers."""
    for number, name in enumerate(PEOPLE):
        uids = {"PatientID": name, "StudyInstanceUID": f"1.{number}", "SeriesInstanceUID": f"1.{number}.1"}
        write_dicom(desk.root / name / "dicom", series(number), StudyDescription="MR KNEE", **uids)
        for index, pixels in enumerate(series(number), 1):
            write_png(desk.root / f"{name}/mask/im{index:03d}.png", (pixels > 2000).astype(np.uint8))
    return {"images": "{case}/dicom/{slice}.dcm", "masks": "{case}/mask/{slice}.png", "kind": "dicom"}


def test_dicom_files_are_what_the_curation_of_an_archive_makes_of_them(desk, dicom):
    desk.run(desk.declare({}, **dicom))
    records = {one.slice_id: one for one in desk.records()}
    assert {(one.location, one.location_evidence) for one in records.values()} == {
        ("knee", "BodyPartExamined")
    }
    archive = Desk(desk.folder)
    archive.out = place(str(desk.folder / "archive"))
    key = load_or_create_key(desk.key)
    curate(Job(place(str(desk.root)), archive.out, Curation(), key), in_process)
    same = {one.slice_id: one for one in archive.records()}
    assert len(records) == 4 * SLICES
    assert len(same) == 8 * SLICES
    for name, one in records.items():
        np.testing.assert_array_equal(one.pixels, same[name].pixels)
        assert (one.patient_id, one.volume_id) == (same[name].patient_id, same[name].volume_id)
        assert one.volume_intensity == same[name].volume_intensity


def test_an_archive_that_holds_the_whole_task_is_refused(desk, dicom):
    key = load_or_create_key(desk.key)
    curate(Job(place(str(desk.root)), desk.out, Curation(), key), in_process)
    with pytest.raises(UserError, match="holds slices of patients who are judged"):
        desk.run(desk.declare({}, **dicom))


def test_generated_phantoms_are_told_and_never_mixed_with_patients(desk):
    folder = desk.folder / "phantoms"
    write_labelled(folder, LabelledSpec(patients=6, matrix=64, slices=5))
    task = f"phantoms={folder}"
    with pytest.raises(UserError, match="phantoms and patients"):
        desk.run(task, desk.declare())
    manifest = desk.run(task)
    assert manifest.generated_phantoms
    assert manifest.counts["patients"] == 3
    assert set(manifest.distributions["sequence"]) <= {"T1", "T2"}
    assert "Generated phantoms, not patients" in (desk.folder / "out" / CARD).read_text()
    for step in (lambda: desk.run(desk.declare()), lambda: desk.archive(50)):
        with pytest.raises(UserError, match="mix generated phantoms with patients"):
            step()
    assert read_manifest(desk.out) == manifest


def test_another_policy_or_a_destination_in_the_task_is_told_before_anything_is_read(desk):
    task = desk.declare()
    desk.run(task)
    with pytest.raises(UserError, match="another policy"):
        desk.run(task, settings=("curation.min_slices=3",))
    desk.out = place(str(desk.root / "out"))
    with pytest.raises(UserError, match="overlap"):
        desk.run(task)


def test_a_wrong_folder_makes_no_key(desk):
    with pytest.raises(UserError, match="nothing found"):
        desk.run(f"{desk.declare()}={desk.folder / 'elsewhere'}")
    assert not desk.key.exists()


@pytest.mark.real_data
def test_real_tasks_give_their_pools_and_no_judged_slice(real_data, tmp_path):
    desk = Desk(tmp_path)
    folders = {
        "abdomen": "abdomen_chaos_t2spir",
        "hippocampus": "brain_hippocampus_msd",
    }
    named = [f"{task}={real_data / 'labelled' / folder}" for task, folder in folders.items()]
    manifest = desk.run(*named, settings=("curation.min_pixels=32",))
    assert manifest.counts == {"slices": 910, "volumes": 26, "exams": 26, "patients": 26}
    assert manifest.distributions["location"] == {"brain": 579, "abdomen": 331}
    assert rejects(manifest) == {("volume", "judged_patient"): 28, ("image", "empty_image"): 10}
    for task, folder in folders.items():
        labelled = read_volumes(load_task(task), real_data / "labelled" / folder)
        assert find_leaks(labelled.without("pool"), desk.out).verdict == "none"
        seen = find_leaks(labelled.without("test").without("development"), desk.out)
        assert seen.parts["pool"] == len(labelled.split.pool)
