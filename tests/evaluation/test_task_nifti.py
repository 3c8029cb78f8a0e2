"""NIfTI volumes as labelled tasks: axes, places, damage; one bad case is counted and stops nothing."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from task_files import AFFINE, declared, volume, write_cases, write_nifti

from mricore.errors import UserError
from mricore.evaluation.tasks.reading import read_volumes

ONE = {"pool": 1.0, "development": 0.0, "test": 0.0}
KEPT = ("keep1", "keep2")


@pytest.fixture
def root(tmp_path):
    """A folder with two good cases, beside which a test puts another."""
    for seed, name in enumerate(KEPT):
        write_nifti(tmp_path, name, *volume(900 + seed, (5, 5, 3)))
    return tmp_path


def the_third(root, **changes):
    """The volume that is not one of ``KEPT``, whose values are below 75."""
    labelled = read_volumes(declared(split=ONE, **changes), root)
    (found,) = (one for one in labelled.volumes if one.image.max() > 100)
    return found


def refused(root, **changes):
    return dict(read_volumes(declared(split=ONE, **changes), root).left_out)


def test_a_volume_comes_slice_by_slice_with_its_spacing_and_classes(root):
    image, mask = volume(1)
    write_nifti(root, "new", image, mask)
    found = the_third(root)
    np.testing.assert_array_equal(found.image, image.transpose(2, 0, 1))
    np.testing.assert_array_equal(found.mask, mask.transpose(2, 0, 1))
    assert found.image.dtype == np.int16
    assert found.mask.dtype == np.uint8
    assert found.spacing == (5.0, 1.5, 2.0)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_slices_follow_the_axis_of_the_longest_voxels_wherever_it_is(root, axes):
    image, mask = volume(2)
    affine = np.eye(4)
    affine[:3, :3] = AFFINE[:3, :3][:, axes]
    write_nifti(root, "new", image.transpose(axes), mask.transpose(axes), affine)
    found = the_third(root)
    assert len(found.image) == 6
    across = [axis for axis in axes if axis != 2]
    np.testing.assert_array_equal(found.image, image.transpose(2, *across))
    assert found.spacing == (5.0, *(AFFINE[axis, axis] for axis in across))


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, 1)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("degrees", [0, 20])
def test_by_the_header_axial_slices_show_the_front_at_the_top_and_the_right_at_the_left(
    root, signs, axes, degrees
):
    """However an array is stored: a mark on the patient's right front, near the feet, is found again."""
    world = np.zeros((12, 10, 6), np.int16)  # to the right, to the front, to the head
    world[-1, -2, 1] = 1000
    turn = np.eye(4)
    a = np.radians(degrees)
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    affine = turn @ AFFINE
    flips = tuple(slice(None, None, sign) for sign in signs)
    stored = world[flips].transpose(axes)
    affine = affine @ np.diag([*signs, 1])[:, [*axes, 3]]
    mask = (stored > 0).astype(np.uint8)
    write_nifti(root, "new", stored, mask, affine)
    found = the_third(root, turn="header", slice_axis="axial")
    assert found.image.shape == (6, 10, 12)
    assert found.spacing == pytest.approx((5.0, 2.0, 1.5))
    (place,) = np.argwhere(found.image == 1000)
    assert place[1:].tolist() == [1, 0], "second row from the front, first column from the right"
    np.testing.assert_array_equal(found.mask, found.image > 0)


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_by_the_header_upright_planes_show_the_head_at_the_top(root, plane):
    world = np.zeros((12, 10, 6), np.int16)
    world[-1, -2, -1] = 1000
    write_nifti(root, "new", world, (world > 0).astype(np.uint8))
    found = the_third(root, turn="header", slice_axis=plane)
    (place,) = np.argwhere(found.image == 1000)
    assert place[1] == 0, "the head is at the top"
    assert place[2] == (1 if plane == "sagittal" else 0), "the front, or the right side, is at the left"


def test_slices_are_turned_to_the_left_as_declared_with_their_spacing(root):
    image, mask = volume(3)
    write_nifti(root, "new", image, mask)
    found = the_third(root, turn=90)
    np.testing.assert_array_equal(found.image[2], np.rot90(image[:, :, 2]))
    np.testing.assert_array_equal(found.mask[2], np.rot90(mask[:, :, 2]))
    assert found.spacing == (5.0, 2.0, 1.5)
    assert the_third(root, turn=180).spacing == (5.0, 1.5, 2.0)


def test_declared_spacing_and_axis_win_over_the_header(root):
    image, mask = volume(4)
    write_nifti(root, "new", image, mask)
    found = the_third(root, slice_axis=0, spacing=(1.0, 2.0, 3.0))
    np.testing.assert_array_equal(found.image, image)
    assert found.spacing == (1.0, 2.0, 3.0)


def test_an_unclear_slice_axis_is_no_guess(root):
    write_nifti(root, "new", *volume(5), affine=np.eye(4))
    assert refused(root) == {"slice_axis_unclear": 1}
    assert len(the_third(root, slice_axis=1).image) == 10


def test_stored_integers_are_scaled_to_real_intensities(root):
    image, mask = volume(6)
    write_nifti(root, "new", image, mask)
    file = nib.Nifti1Image(image, AFFINE)
    file.header.set_slope_inter(0.5, -3)
    (root / "images/new.nii.gz").write_bytes(gzip.compress(file.to_bytes()))
    loaded = np.asarray(nib.load(root / "images/new.nii.gz").dataobj)
    found = the_third(root)
    assert found.image.dtype == np.float32
    np.testing.assert_array_equal(found.image, loaded.transpose(2, 0, 1).astype(np.float32))
    assert not np.array_equal(loaded, image)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_plain_and_packed_files_and_both_versions_are_read(root, ending):
    image, mask = volume(7)
    write_nifti(root, "new", image, mask, ending=ending)
    second = nib.Nifti2Image(image, AFFINE).to_bytes()
    (root / f"images/new{ending}").write_bytes(gzip.compress(second) if ending.endswith("gz") else second)
    pattern = {"images": "images/{case}{end:\\.nii(?:\\.gz)?}", "masks": "labels/{case}{end}"}
    np.testing.assert_array_equal(the_third(root, **pattern).image, image.transpose(2, 0, 1))


def test_a_fourth_axis_of_one_is_no_axis(root):
    image, mask = volume(8)
    write_nifti(root, "new", image[..., None], mask)
    assert the_third(root).image.shape == (6, 12, 10)


def mirrored(affine):
    return affine @ np.diag([-1, 1, 1, 1])


def shifted(affine, by):
    moved = affine.copy()
    moved[0, 3] += by
    return moved


def bad_mask(value, dtype=np.int16):
    mask = volume(9)[1].astype(dtype)
    mask[0, 0, 0] = value
    return mask


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"mask": volume(9)[1][:-1]}, "other_shape"),
        ({"mask_affine": mirrored(AFFINE)}, "other_geometry"),
        ({"mask_affine": shifted(AFFINE, 0.2)}, "other_geometry"),
        ({"mask_affine": AFFINE @ np.diag([1.05, 1, 1, 1])}, "other_geometry"),
        ({"mask": bad_mask(3)}, "unknown_value"),
        ({"mask": bad_mask(-1)}, "unknown_value"),
        ({"mask": bad_mask(0.5, np.float32)}, "unknown_value"),
        ({"mask": bad_mask(70000, np.int32)}, "unknown_value"),
        ({"image": np.zeros((12, 10, 6, 2), np.int16)}, "not_a_volume"),
        ({"image": np.zeros((12, 10), np.int16)}, "not_a_volume"),
        ({"image": np.full((12, 10, 6), np.nan, np.float32)}, "not_finite"),
        ({"image": np.zeros((12, 10, 6), np.complex64)}, "unreadable_image"),
    ],
)
def test_what_does_not_fit_is_left_out_with_its_reason(root, made, reason):
    image, mask = volume(9)
    write_nifti(root, "new", **{"image": image, "mask": mask, **made})
    labelled = read_volumes(declared(split=ONE), root)
    assert dict(labelled.left_out) == {reason: 1}
    assert len(labelled.volumes) == len(KEPT)


def test_a_header_that_tells_no_place_is_damage(root):
    write_nifti(root, "new", *volume(9))
    path = root / "images/new.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[312:328] = bytes(16)  # the affine's third row
    path.write_bytes(gzip.compress(bytes(content)))
    assert refused(root) == {"unreadable_image": 1}


def test_a_header_that_promises_more_than_memory_holds_is_refused_before_it_is_read(root):
    write_nifti(root, "new", *volume(9))
    path = root / "images/new.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = np.array([30000, 30000, 6], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))
    assert refused(root) == {"too_large": 1}


def test_rounded_places_of_a_mask_are_the_same_places(root):
    write_nifti(root, "new", *volume(10), mask_affine=shifted(AFFINE, 0.05))
    assert refused(root) == {}


def test_geometry_is_not_compared_where_a_declaration_says_so(root):
    write_nifti(root, "new", *volume(10), mask_affine=mirrored(AFFINE))
    assert refused(root, check_geometry=False) == {}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
@pytest.mark.parametrize("folder", ["images", "labels"])
def test_a_damaged_file_is_left_out(root, folder, damage):
    write_nifti(root, "new", *volume(11))
    path = root / folder / "new.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    whole = path.read_bytes()
    made = {"cut": whole[:-40], "flipped": bytes(content), "empty": b"", "text": b"patient: Ann"}
    path.write_bytes(made[damage])
    assert refused(root) == {f"unreadable_{'image' if folder == 'images' else 'mask'}": 1}


def test_a_missing_mask_is_left_out(root):
    write_nifti(root, "new", *volume(12))
    (root / "labels/new.nii.gz").unlink()
    assert refused(root) == {"mask_missing": 1}


def test_values_to_ignore_become_background(root):
    write_nifti(root, "new", volume(13)[0], bad_mask(7))
    assert refused(root) == {"unknown_value": 1}
    found = the_third(root, ignore=(7,))
    assert found.mask[0, 0, 0] == 0
    assert set(np.unique(found.mask)) == {0, 1, 2}


def test_values_of_a_class_become_one_number_and_floats_count(root):
    image, mask = volume(14)
    write_nifti(root, "new", image, mask.astype(np.float32) * 50)
    found = the_third(root, classes={"all": (1, 2, 50, 100)})
    np.testing.assert_array_equal(found.mask, (mask > 0).transpose(2, 0, 1))


def test_slices_without_a_class_stay_unless_a_declaration_leaves_them_out(root):
    image, mask = volume(15)
    write_nifti(root, "new", image, mask)
    assert len(the_third(root).image) == 6
    found = the_third(root, exclude_empty=True)
    np.testing.assert_array_equal(found.image, image.transpose(2, 0, 1)[1:4])
    write_nifti(root, "new", image, np.zeros_like(mask))
    assert refused(root, exclude_empty=True) == {"no_labelled_slice": 1}


def test_if_nothing_can_be_used_the_reasons_are_told(tmp_path):
    write_nifti(tmp_path, "ann", *volume(16), mask_affine=mirrored(AFFINE))
    write_nifti(tmp_path, "bob", volume(17)[0], bad_mask(9))
    with pytest.raises(UserError, match=r"none of 2 cases .*other_geometry 1, unknown_value 1") as caught:
        read_volumes(declared(), tmp_path)
    assert "ann" not in str(caught.value)


@pytest.mark.parametrize("folder", ["absent", "."])
def test_a_folder_without_the_files_is_told(tmp_path, folder):
    with pytest.raises(UserError, match=r"images = |cannot be read"):
        read_volumes(declared(), tmp_path / folder)


def test_a_volume_that_is_there_twice_counts_once(tmp_path):
    """Else a patient under two names could be in two parts."""
    write_cases(tmp_path)
    write_nifti(tmp_path, "zoe", *volume(0))
    labelled = read_volumes(declared(), tmp_path)
    assert dict(labelled.left_out) == {"repeated": 1}
    assert len(labelled.volumes) == 4
