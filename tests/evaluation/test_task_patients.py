"""Patients of a task: names that tell nothing, parts that share nobody, draws that are the same for all."""

import csv
import io
import logging
import pickle
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from task_files import declared, volume, write_cases, write_nifti

from mricore.config.task import with_classes
from mricore.errors import UserError
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.flaws import Flaw
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.reading import read_volumes
from mricore.evaluation.tasks.splits import Split
from mricore.evaluation.tasks.volume import LabelledVolume, SliceKey

NAMES = tuple(f"mueller_{name}" for name in "abcdefghij")
PARTS = ("pool", "development", "test")
TENTHS = {"pool": 0.5, "development": 0.2, "test": 0.3}
ALL = {"pool": 1.0, "development": 0.0, "test": 0.0}


def made(patients=12, pool=12, slices=6, cases=1, shown=True):
    """A task in memory; each patient has as many cases, all of them in the pool up to ``pool``."""
    rng = np.random.default_rng(0)
    names = [f"p{number:02d}" for number in range(patients)]
    volumes = tuple(
        LabelledVolume(
            f"{name}-{case}",
            name,
            rng.random((slices, 4, 4)),
            np.tile(np.arange(slices).reshape(-1, 1, 1) % 3 * shown, (1, 4, 4)).astype(np.uint8),
            (1, 1, 1),
        )
        for name in names
        for case in range(cases)
    )
    return LabelledTask(declared(), volumes, Split(tuple(names[:pool]), (), tuple(names[pool:])), "0")


def owners(labelled, keys):
    return {labelled.patient(key) for key in keys}


def test_parts_share_no_patient_and_leave_none_out(tmp_path):
    write_cases(tmp_path, NAMES)
    for seed in range(20):
        labelled = read_volumes(declared(split={**TENTHS, "seed": seed}), tmp_path)
        parts = [set(labelled.split.patients(part)) for part in PARTS]
        assert [len(part) for part in parts] == [5, 2, 3]
        assert all(one.isdisjoint(other) for one, other in combinations(parts, 2))
        assert set.union(*parts) == {one.patient for one in labelled.volumes}
        assert sum(len(labelled.of(part)) for part in PARTS) == len(labelled.volumes)


def test_the_seed_of_a_split_decides_who_is_where(tmp_path):
    write_cases(tmp_path, NAMES)
    splits = {read_volumes(declared(split={**TENTHS, "seed": s}), tmp_path).split for s in range(10)}
    assert len(splits) > 5


def test_cases_of_one_patient_stay_together(tmp_path):
    for seed, (name, visit) in enumerate((name, visit) for name in "abcdef" for visit in (1, 2, 3)):
        write_nifti(tmp_path, f"{name}_{visit}", *volume(seed))
    pattern = {"images": "images/{who}_{visit}.nii.gz", "masks": "labels/{who}_{visit}.nii.gz"}
    labelled = read_volumes(declared(**pattern, patient="{who}", split=TENTHS), tmp_path)
    assert set(Counter(one.patient for one in labelled.volumes).values()) == {3}
    for part in PARTS:
        assert len(labelled.of(part)) == 3 * len(labelled.split.patients(part))


def write_table(path, rows, **options):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), **options)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), "utf-8-sig")


TABLE = {"file": "cases.csv", "key": "scan", "value": "{case}"}


def test_a_table_tells_patients_and_categories(tmp_path):
    write_cases(tmp_path, ("s1", "s2", "s3", "s4", "s5"))
    rows = [{"scan": f"s{k}", "who": f"w{k % 2}", "site": ("A, north", "B")[k % 2]} for k in (1, 2, 3, 4)]
    write_table(tmp_path / "cases.csv", rows)
    categories = {"site": {"of": "{site}", "values": {"A, north": "north"}}}
    labelled = read_volumes(
        declared(table=TABLE, patient="{who}", categories=categories, split=ALL), tmp_path
    )
    assert dict(labelled.left_out) == {"not_in_table": 1}
    by_patient = {one.patient: one.categories["site"] for one in labelled.volumes}
    assert sorted(by_patient.values()) == ["north", "unknown"], "what is not declared never leaves"
    assert len(labelled.volumes) == 4


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "cannot be read"),
        ([{"id": "s1"}], "no column 'scan'"),
        ([{"scan": "s1"}, {"scan": "s1"}], "two rows"),
        ([{"scan": "s1", "x": "y"}], "no column 'who'"),
    ],
)
def test_a_table_that_does_not_fit_is_told_in_one_line(tmp_path, table, said):
    write_cases(tmp_path, ("s1", "s2"))
    if table:
        write_table(tmp_path / "cases.csv", table)
    with pytest.raises(UserError, match=said):
        read_volumes(declared(table=TABLE, patient="{who}"), tmp_path)


def test_a_mask_named_by_a_column_that_is_not_there_is_told(tmp_path):
    write_cases(tmp_path, ("s1", "s2"))
    write_table(tmp_path / "cases.csv", [{"scan": "s1"}, {"scan": "s2"}])
    with pytest.raises(UserError, match="no column 'reader'"):
        read_volumes(declared(table=TABLE, masks="labels/{case}_{reader}.nii.gz"), tmp_path)


def test_fixed_lists_name_patients_as_files_do(tmp_path):
    write_cases(tmp_path, ("ann", "bob", "cy", "dee"))
    lists = {"pool": ("dee", "ann", "not there"), "development": ("cy",), "test": ("bob",)}
    labelled = read_volumes(declared(split=lists), tmp_path)
    image, _ = volume(1)
    (test,) = labelled.of("test")
    np.testing.assert_array_equal(test.image, image.transpose(2, 0, 1))
    assert [len(labelled.split.patients(part)) for part in PARTS] == [2, 1, 1]
    with pytest.raises(UserError, match="1 of 4 patients are on no list"):
        read_volumes(declared(split={**lists, "test": ("nobody",)}), tmp_path)


@pytest.mark.parametrize(
    ("split", "count"),
    [(TENTHS, 2), ({"pool": 0.1, "development": 0, "test": 0.9}, 4), (TENTHS, 1)],
)
def test_too_few_patients_are_told_with_their_counts(tmp_path, split, count):
    write_cases(tmp_path, NAMES[:count])
    with pytest.raises(UserError, match=rf"{count} patients are too few .*in pool, .*in test") as caught:
        read_volumes(declared(split=split), tmp_path)
    assert "mueller" not in str(caught.value)


def test_names_splits_and_digests_do_not_change_with_names_and_folders(tmp_path):
    write_cases(tmp_path / "one", NAMES)
    for seed, name in enumerate(reversed("klmnopqrst")):
        write_nifti(tmp_path / "two", name, *volume(seed))
    one, two = (read_volumes(declared(split=TENTHS), tmp_path / name) for name in ("one", "two"))
    assert one.digest == two.digest
    assert one.split == two.split
    for first, second in zip(one.volumes, two.volumes, strict=True):
        assert (first.case, first.patient) == (second.case, second.patient)
        np.testing.assert_array_equal(first.image, second.image)


def test_lists_that_mean_other_patients_after_files_were_renamed_give_another_digest(tmp_path):
    """Else results of the one split would be taken for those of the other."""
    lists = {"pool": ("ann", "bob"), "development": ("cy",), "test": ("dee",)}
    for folder, names in (("one", ("ann", "bob", "cy", "dee")), ("two", ("dee", "bob", "cy", "ann"))):
        write_cases(tmp_path / folder, names)
    one, two = (read_volumes(declared(split=lists), tmp_path / folder) for folder in ("one", "two"))
    assert one.split.test != two.split.test
    assert one.digest != two.digest


def test_binary_and_multi_class_tasks_share_the_split_of_patients(tmp_path):
    write_cases(tmp_path, NAMES)
    whole, some = declared(split=TENTHS), with_classes(declared(split=TENTHS), "far")
    numbers = [
        {part: [name[-2:] for name in read_volumes(task, tmp_path).split.patients(part)] for part in PARTS}
        for task in (whole, some)
    ]
    assert numbers[0] == numbers[1]


def changed_pixel(root):
    image, mask = volume(0)
    image[0, 0, 0] += 1000
    write_nifti(root, NAMES[0], image, mask)


def changed_mask(root):
    image, mask = volume(0)
    mask[0, 0, 0] = 1
    write_nifti(root, NAMES[0], image, mask)


@pytest.mark.parametrize("change", [changed_pixel, changed_mask])
def test_the_digest_covers_every_pixel_and_mask(tmp_path, change):
    write_cases(tmp_path, NAMES[:4])
    before = read_volumes(declared(), tmp_path).digest
    assert read_volumes(declared(), tmp_path).digest == before
    change(tmp_path)
    assert read_volumes(declared(), tmp_path).digest != before


@pytest.mark.parametrize("change", [{"title": "x"}, {"spacing": (1, 1, 1)}, {"split": TENTHS}])
def test_the_digest_covers_the_declaration(tmp_path, change):
    write_cases(tmp_path, NAMES[:5])
    assert read_volumes(declared(**change), tmp_path).digest != read_volumes(declared(), tmp_path).digest


def test_no_name_of_a_file_gets_out(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    write_cases(tmp_path, NAMES)
    (tmp_path / f"images/{NAMES[0]}.nii.gz").write_bytes(b"damaged")
    (tmp_path / f"labels/{NAMES[1]}.nii.gz").unlink()
    categories = {"who": {"of": "{case}", "values": {"x": "X"}}}
    labelled = read_volumes(declared(categories=categories), tmp_path)
    assert dict(labelled.left_out) == {"mask_missing": 1, "unreadable_image": 1}
    said = f"{labelled!r}{draw(labelled, 0, 0)!r}{capfd.readouterr()}{caplog.text}"
    assert "mueller" not in said
    assert b"mueller" not in pickle.dumps(labelled)
    assert [one.case for one in labelled.volumes] == [f"made-{k:02d}" for k in range(1, 9)]
    assert sorted(one.patient for one in labelled.volumes) == [f"made-p{k:02d}" for k in range(1, 9)]


def test_a_draw_takes_five_and_five_slices_of_ten_patients_that_all_show_a_class():
    labelled = made(patients=14, pool=12)
    for number in range(30):
        drawn = draw(labelled, number, 3)
        assert (len(drawn.training), len(drawn.validation)) == (5, 5)
        people = owners(labelled, drawn.training + drawn.validation)
        assert len(people) == 10
        assert people <= set(labelled.split.pool)
        assert all(labelled.slice(key)[1].any() for key in drawn.training + drawn.validation)


def test_a_draw_depends_on_its_number_and_seed_alone():
    labelled = made()
    assert draw(labelled, 4, 7) == draw(made(), 4, 7)
    assert len({draw(labelled, number, 7).training for number in range(10)}) == 10
    assert draw(labelled, 4, 8) != draw(labelled, 4, 7)
    assert draw(labelled, 4, 7).number == 4


def test_every_patient_and_slice_of_the_pool_is_drawn_sometimes():
    labelled = made(patients=11, pool=11)
    drawn = [draw(labelled, number, 0) for number in range(200)]
    seen = Counter(key for one in drawn for key in one.training)
    assert len(seen) == 11 * 4, "four of six slices show a class"
    assert max(seen.values()) < 4 * min(seen.values()) + 10


@pytest.mark.parametrize("pool", [2, 3, 5, 9])
def test_of_few_patients_none_teaches_and_validates(pool):
    labelled = made(patients=pool, pool=pool, slices=9)
    for number in range(10):
        drawn = draw(labelled, number, 0)
        assert len(set(drawn.training)) == len(set(drawn.validation)) == 5
        assert owners(labelled, drawn.training).isdisjoint(owners(labelled, drawn.validation))
        assert len(owners(labelled, drawn.training + drawn.validation)) == pool


def test_a_pool_without_enough_is_told():
    with pytest.raises(UserError, match="1 patients of the pool show a class"):
        draw(made(patients=3, pool=1), 0, 0)
    with pytest.raises(UserError, match="0 patients of the pool show a class"):
        draw(made(shown=False), 0, 0)
    with pytest.raises(UserError, match="1 patients have 4 slices with a class, 5 are needed"):
        draw(made(patients=2, pool=2), 0, 0)


def test_a_slice_is_found_by_its_key_and_no_other():
    labelled = made()
    image, mask = labelled.slice(SliceKey("p03-0", 2))
    np.testing.assert_array_equal(image, labelled.volumes[3].image[2])
    np.testing.assert_array_equal(mask, labelled.volumes[3].mask[2])
    with pytest.raises(KeyError):
        labelled.slice(SliceKey("p99-0", 0))
    for index in (-1, 6):
        with pytest.raises(IndexError):
            labelled.slice(SliceKey("p03-0", index))


def test_every_reason_is_explained():
    manual = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text("utf-8")
    for flaw in Flaw:
        assert f"`{flaw}`" in manual
