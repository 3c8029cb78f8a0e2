"""DICOM series and PNG folders as labelled tasks: slices in order of their place, masks where they belong."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import dataset, to_bytes
from PIL import Image
from pydicom.dataset import Dataset
from task_files import AXIAL, FIRST, declared, dicom_affine, volume, write_dicom, write_nifti, write_png

from mricore.evaluation.tasks.reading import read_volumes
from mricore.imaging.segmentations import SEGMENTATION

ONE = {"pool": 1.0, "development": 0.0, "test": 0.0}
SAGITTAL = (0, 1, 0, 0, 0, -1)
OBLIQUE = (0.8, 0.6, 0, 0, 0, -1)
SERIES = {"images": "{case}/dicom/*", "masks": "{case}/mask.nii.gz"}
PAIRS = {"images": "{case}/dicom/{slice}.dcm", "masks": "{case}/mask/{slice}.png"}
PNGS = {"images": "{patient}-{slice}.png", "masks": "masks/{patient}-{slice}.png", "patient": "{patient}"}
PNG = declared("png", ONE, spacing=(5.0, 1.0, 2.0), **PNGS)


def slices(seed=0):
    """Image and mask (slices, rows, columns) of 12-bit integers."""
    image, mask = volume(seed, (40, 36, 6), np.uint16)
    return image.transpose(2, 0, 1) % 4096, mask.transpose(2, 0, 1)


def write_mask(path, mask, affine):
    """A mask (slices, rows, columns) as NIfTI with axes (column, row, slice)."""
    path.write_bytes(nib.Nifti1Image(mask.transpose(2, 1, 0), affine).to_bytes())


@pytest.fixture
def root(tmp_path):
    """A good case for each way to write masks, so that a task has patients enough."""
    for seed, name in ((50, "ok1"), (51, "ok2")):
        image, mask = (one[:, :30, :20] for one in slices(seed))
        write_dicom(tmp_path / name / "dicom", image)
        write_mask(tmp_path / name / "mask.nii.gz", mask, dicom_affine())
        for index in range(6):
            write_png(tmp_path / name / f"mask/im{6 - index:03d}.png", mask[index])
    return tmp_path


def found(root, image, **changes):
    """The volume of an image that a test wrote, found by its sum."""
    labelled = read_volumes(declared("dicom", ONE, **changes), root)
    assert not labelled.left_out, labelled.left_out
    total = image.sum(dtype=np.float64)
    (one,) = (one for one in labelled.volumes if np.isclose(one.image.sum(dtype=np.float64), total))
    return one


def refused(root, **changes):
    return dict(read_volumes(declared("dicom", ONE, **changes), root).left_out)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE])
def test_a_series_is_sorted_by_place_and_its_mask_lies_on_it(root, orientation):
    image, mask = slices(1)
    write_dicom(root / "new/dicom", image, orientation)
    write_mask(root / "new/mask.nii.gz", mask, dicom_affine(orientation))
    one = found(root, image, **SERIES)
    np.testing.assert_array_equal(one.image, image)
    np.testing.assert_array_equal(one.mask, mask)
    assert one.spacing == pytest.approx((4.0, 1.5, 0.75))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, 1), (-1, -1, -1)])
def test_a_mask_that_a_converter_turned_and_flipped_is_put_back(root, axes, signs):
    image, mask = slices(2)
    write_dicom(root / "new/dicom", image, OBLIQUE)
    file = nib.Nifti1Image(mask.transpose(2, 1, 0), dicom_affine(OBLIQUE))
    turned = file.as_reoriented(np.array([[axis, sign] for axis, sign in zip(axes, signs, strict=True)]))
    (root / "new/mask.nii.gz").write_bytes(turned.to_bytes())
    np.testing.assert_array_equal(found(root, image, **SERIES).mask, mask)


@pytest.mark.parametrize("moved", ["shifted", "scaled", "turned"])
def test_a_mask_of_another_place_is_refused(root, moved):
    image, mask = slices(3)
    write_dicom(root / "new/dicom", image)
    affine = dicom_affine()
    if moved == "shifted":
        affine[2, 3] += 4.0
    elif moved == "scaled":
        affine[:3, :3] *= 1.02
    else:
        affine[:2, :2] = affine[:2, :2] @ [[0.8, -0.6], [0.6, 0.8]]
    write_mask(root / "new/mask.nii.gz", mask, affine)
    assert refused(root, **SERIES) == {"other_geometry": 1}
    lenient = refused(root, **SERIES, check_geometry=False)
    assert lenient == ({"other_geometry": 1} if moved == "turned" else {})


def test_a_mask_for_each_slice_goes_with_its_file(root):
    image, mask = slices(4)
    write_dicom(root / "new/dicom", image)
    for index in range(6):
        write_png(root / f"new/mask/im{6 - index:03d}.png", mask[index])
    np.testing.assert_array_equal(found(root, image, **PAIRS).mask, mask)


def test_real_intensities_are_scaled_and_slices_turned(root):
    image, mask = slices(5)
    write_dicom(root / "new/dicom", image, RescaleSlope=0.5, RescaleIntercept=-7)
    write_mask(root / "new/mask.nii.gz", mask, dicom_affine())
    real = image * 0.5 - 7
    one = found(root, real, **SERIES, turn=270)
    np.testing.assert_allclose(one.image, np.rot90(real, 3, (1, 2)))
    np.testing.assert_array_equal(one.mask, np.rot90(mask, 3, (1, 2)))
    assert one.spacing == pytest.approx((4.0, 0.75, 1.5))


def test_files_that_are_no_dicom_are_passed_over(root):
    image, mask = slices(6)
    write_dicom(root / "new/dicom", image)
    write_mask(root / "new/mask.nii.gz", mask, dicom_affine())
    (root / "new/dicom/readme.txt").write_text("Ann")
    np.testing.assert_array_equal(found(root, image, **SERIES).image, image)


def test_a_gap_or_a_place_that_comes_twice_is_refused(root):
    image, mask = slices(7)
    write_dicom(root / "new/dicom", image)
    write_mask(root / "new/mask.nii.gz", mask, dicom_affine())
    missing = root / "new/dicom/im003.dcm"
    content = missing.read_bytes()
    missing.unlink()
    assert refused(root, **SERIES) == {"uneven_slices": 1}
    missing.write_bytes(content)
    write_dicom(root / "again", image[:1])
    (root / "again/im001.dcm").rename(root / "new/dicom/x.dcm")
    assert refused(root, **SERIES) == {"same_position": 1}


def test_damage_and_other_objects_are_refused(root):
    image, mask = slices(8)
    write_mask_at = root / "new/mask.nii.gz"
    write_dicom(root / "new/dicom", image)
    write_mask(write_mask_at, mask, dicom_affine())
    path = root / "new/dicom/im002.dcm"
    path.write_bytes(path.read_bytes()[:-100])
    assert refused(root, **SERIES) == {"unreadable_image": 1}
    write_dicom(root / "new/dicom", image, Modality="CT")
    assert refused(root, **SERIES) == {"unreadable_image": 1}
    for file in (root / "new/dicom").iterdir():
        file.write_text("nothing")
    assert refused(root, **SERIES) == {"not_a_volume": 1}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_slices_are_ordered_by_number_and_keep_their_bits(tmp_path, dtype):
    rng = np.random.default_rng(9)
    images = {name: rng.integers(0, np.iinfo(dtype).max, (12, 9, 7)).astype(dtype) for name in ("a", "b")}
    for name, image in images.items():
        for index, pixels in enumerate(image):
            write_png(tmp_path / f"{name}-{index}.png", pixels)
            write_png(tmp_path / f"masks/{name}-{index}.png", np.full((9, 7), index % 3, np.uint8))
    labelled = read_volumes(PNG, tmp_path)
    for image in images.values():
        (one,) = (one for one in labelled.volumes if np.array_equal(one.image, image))
        assert one.image.dtype == dtype
        assert one.mask[:, 0, 0].tolist() == [index % 3 for index in range(12)]
        assert one.spacing == (5.0, 1.0, 2.0)


@pytest.fixture
def pngs(tmp_path):
    """Three patients with two slices each; a test changes those of c."""
    rng = np.random.default_rng(10)
    for name in "abc":
        for index in range(2):
            write_png(tmp_path / f"{name}-{index}.png", rng.integers(0, 255, (9, 7)).astype(np.uint8))
            write_png(tmp_path / f"masks/{name}-{index}.png", np.ones((9, 7), np.uint8))
    return tmp_path


def write_palette(path, indices):
    file = Image.fromarray(indices).convert("P")
    file.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    file.putdata(indices.ravel().tolist())
    file.save(path)


def test_a_palette_of_a_mask_stands_for_its_indices_and_equal_colours_are_grey(pngs):
    indices = np.zeros((9, 7), np.uint8)
    indices[2:4] = 2
    write_palette(pngs / "masks/c-0.png", indices)
    grey = np.random.default_rng(11).integers(0, 255, (9, 7)).astype(np.uint8)
    write_png(pngs / "c-0.png", np.dstack([grey] * 3))
    labelled = read_volumes(PNG, pngs)
    assert not labelled.left_out
    (one,) = (one for one in labelled.volumes if (one.mask == 2).any())
    np.testing.assert_array_equal(one.image[0], grey)
    np.testing.assert_array_equal(one.mask[0], indices)


def coloured(root):
    pixels = np.zeros((9, 7, 3), np.uint8)
    pixels[0, 0] = 1, 2, 3
    write_png(root / "c-0.png", pixels)


def cut(root):
    path = root / "c-1.png"
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (coloured, "not_grayscale"),
        (cut, "unreadable_image"),
        (lambda root: (root / "masks/c-1.png").unlink(), "mask_missing"),
        (lambda root: (root / "masks/c-1.png").write_text("no"), "unreadable_mask"),
        (lambda root: write_png(root / "c-0.png", np.zeros((8, 7), np.uint8)), "other_shape"),
        (lambda root: write_png(root / "masks/c-0.png", np.zeros((8, 7), np.uint8)), "other_shape"),
        (lambda root: write_png(root / "masks/c-0.png", np.full((9, 7), 255, np.uint8)), "unknown_value"),
        (lambda root: write_png(root / "c-00.png", np.zeros((9, 7), np.uint8)), "mask_missing"),
    ],
)
def test_a_bad_slice_leaves_its_case_out_and_nothing_else(pngs, change, reason):
    change(pngs)
    labelled = read_volumes(PNG, pngs)
    assert dict(labelled.left_out) == {reason: 1}
    assert len(labelled.volumes) == 2


def test_one_number_written_in_two_ways_is_no_order(pngs):
    write_png(pngs / "c-00.png", np.zeros((9, 7), np.uint8))
    write_png(pngs / "masks/c-00.png", np.zeros((9, 7), np.uint8))
    assert dict(read_volumes(PNG, pngs).left_out) == {"same_position": 1}


def test_two_files_for_one_volume_are_refused(tmp_path):
    for name in ("a1", "b1", "c1", "c2"):
        write_nifti(tmp_path, name, *volume(ord(name[0]) + int(name[1])))
    task = declared(split=ONE, images="images/{case:[a-z]}*.nii.gz", masks="labels/{case}1.nii.gz")
    assert dict(read_volumes(task, tmp_path).left_out) == {"not_a_volume": 1}


def write_segmentation(path, mask, orientation=AXIAL, gap=4.0, first=FIRST, **changes):
    """A binary segmentation of planes that show something, last segment and last plane first."""
    along = np.cross(orientation[:3], orientation[3:])
    planes = [
        (segment, index)
        for segment in reversed(np.unique(mask)[1:].tolist())
        for index in reversed(range(len(mask)))
        if (mask[index] == segment).any()
    ]
    frames = []
    for segment, index in planes:
        frame, number, place = Dataset(), Dataset(), Dataset()
        number.ReferencedSegmentNumber = segment
        place.ImagePositionPatient = [round(float(x), 4) for x in np.add(first, index * gap * along)]
        frame.SegmentIdentificationSequence, frame.PlanePositionSequence = [number], [place]
        frames.append(frame)
    shared, direction, measures = Dataset(), Dataset(), Dataset()
    direction.ImageOrientationPatient = list(orientation)
    measures.PixelSpacing = changes.pop("PixelSpacing", [1.5, 0.75])
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [direction], [measures]
    image = dataset(np.zeros(mask.shape[1:], np.uint8), SOPClassUID=SEGMENTATION, Modality="SEG")
    image.file_meta.MediaStorageSOPClassUID = SEGMENTATION
    image.BitsAllocated = image.BitsStored = 1
    image.HighBit, image.NumberOfFrames, image.SegmentationType = 0, len(planes), "BINARY"
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], frames
    bits = np.concatenate([(mask[index] == segment).ravel() for segment, index in planes])
    content = np.packbits(bits, bitorder="little").tobytes()
    image.PixelData = content + bytes(len(content) % 2)
    image["PixelData"].VR = "OB"
    for name, value in changes.items():
        setattr(image, name, value)
    path.write_bytes(to_bytes(image))


SEGMENTED = {"images": "{case}/dicom/*", "masks": ("{case}/mask.dcm", "{case}/mask.nii.gz")}


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE])
def test_a_dicom_segmentation_lies_on_its_slices(root, orientation):
    image, mask = slices(20)
    write_dicom(root / "new/dicom", image, orientation)
    write_segmentation(root / "new/mask.dcm", mask, orientation)
    np.testing.assert_array_equal(found(root, image, **SEGMENTED).mask, mask)


def overlapping(path, mask):
    """The second segment covers what the first does."""
    write_segmentation(path, np.where(mask > 0, mask, 0))
    image = pydicom.dcmread(path)
    count = image.NumberOfFrames
    frame = image.PerFrameFunctionalGroupsSequence[-1]
    copy = Dataset()
    number = Dataset()
    number.ReferencedSegmentNumber = 2
    copy.SegmentIdentificationSequence, copy.PlanePositionSequence = [number], frame.PlanePositionSequence
    image.PerFrameFunctionalGroupsSequence.append(copy)
    pixels = image.pixel_array
    image.NumberOfFrames = count + 1
    content = np.packbits(np.concatenate([pixels, pixels[-1:]]).ravel(), bitorder="little").tobytes()
    image.PixelData = content + bytes(len(content) % 2)
    image.save_as(path)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (lambda path, mask: write_segmentation(path, mask, first=(10.2, 20, 30)), "other_geometry"),
        (lambda path, mask: write_segmentation(path, mask, first=(10, 20, 32)), "other_geometry"),
        (lambda path, mask: write_segmentation(path, mask, SAGITTAL), "other_geometry"),
        (lambda path, mask: write_segmentation(path, mask, PixelSpacing=[1.5, 0.8]), "other_geometry"),
        (lambda path, mask: write_segmentation(path, mask[:, :-4]), "other_shape"),
        (lambda path, mask: write_segmentation(path, mask * 3), "unknown_value"),
        (lambda path, mask: write_segmentation(path, mask, SegmentationType="FRACTIONAL"), "unreadable_mask"),
        (lambda path, mask: write_segmentation(path, mask, NumberOfFrames=90), "unreadable_mask"),
        (lambda path, mask: path.write_bytes(b"\0" * 128 + b"DICM" + b"Ann"), "unreadable_mask"),
        (overlapping, "overlap"),
    ],
)
def test_a_segmentation_that_does_not_fit_is_refused(root, written, reason):
    image, mask = slices(21)
    write_dicom(root / "new/dicom", image)
    written(root / "new/mask.dcm", mask)
    assert refused(root, **SEGMENTED) == {reason: 1}
