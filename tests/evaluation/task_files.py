"""Small labelled tasks of all three kinds of files, and curated datasets, made up on disk."""

import gzip

import nibabel as nib
import numpy as np
from dicom_files import mr_bytes
from PIL import Image

from mricore.config.curation import Curation
from mricore.config.task import Task
from mricore.data.curate import curate
from mricore.data.job import Job
from mricore.data.storage import place
from mricore.data.work import in_process

AXIAL = (1, 0, 0, 0, 1, 0)
FIRST = (10.0, 20.0, 30.0)
"""Where the first slice of a DICOM series lies."""
AFFINE = np.diag([1.5, 2.0, 5.0, 1.0])


def declared(kind="nifti", split=None, **changes):
    """A task with the classes near and far; ``changes`` go to the source or the task."""
    source = {"kind": kind, "images": "images/{case}.nii.gz", "masks": "labels/{case}.nii.gz"}
    source |= {"patient": "{case}"}
    document = {
        "name": "made",
        "title": "Made up",
        "classes": {"near": (1,), "far": (2,)},
        "split": split or {"pool": 0.5, "development": 0.0, "test": 0.5},
        "about": {"licence": "CC0", "where_to_get": "nowhere"},
    }
    for name, value in changes.items():
        (document if name in Task.model_fields else source)[name] = value
    return Task.model_validate({**document, "source": source})


def volume(seed, shape=(12, 10, 6), dtype=np.int16):
    """Image and mask of a shape; every voxel of the image is another number, the mask has two boxes."""
    rng = np.random.default_rng(seed)
    image = rng.permutation(int(np.prod(shape))).reshape(shape).astype(dtype)
    mask = np.zeros(shape, np.uint8)
    mask[2:6, 3:7, 1:4] = 1
    mask[7:9, 3:5, 2:3] = 2
    return image, mask


def write_nifti(root, case, image, mask, affine=AFFINE, mask_affine=None, ending=".nii.gz"):
    for folder, array, where in (
        ("images", image, affine),
        ("labels", mask, affine if mask_affine is None else mask_affine),
    ):
        path = root / folder / f"{case}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = nib.Nifti1Image(array, where).to_bytes()
        path.write_bytes(gzip.compress(content, mtime=0) if ending.endswith("gz") else content)


def write_cases(root, names=("ann", "bob", "cy", "dee")):
    for seed, name in enumerate(names):
        write_nifti(root, name, *volume(seed))


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_dicom(folder, image, orientation=AXIAL, gap=4.0, first=FIRST, **attributes):
    """Write (slices, rows, columns); file names and instance numbers run against the places of slices."""
    folder.mkdir(parents=True, exist_ok=True)
    along = np.cross(orientation[:3], orientation[3:])
    for index, pixels in enumerate(image):
        number = len(image) - index
        fields = {
            "ImagePositionPatient": [float(x) for x in np.add(first, index * gap * along)],
            "ImageOrientationPatient": list(orientation),
            "PixelSpacing": [1.5, 0.75],
            "SOPInstanceUID": f"1.2.{number}",
            "SeriesInstanceUID": "1.2.0",
            "InstanceNumber": number,
            "PatientName": "Secret^Name",
        }
        (folder / f"im{number:03d}.dcm").write_bytes(mr_bytes(pixels, **{**fields, **attributes}))


def dicom_affine(orientation=AXIAL, gap=4.0, first=FIRST):
    """Where voxel (column, row, slice) of ``write_dicom`` lies, in NIfTI's coordinates."""
    affine = np.eye(4)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    affine[:3, 0], affine[:3, 1] = row * 0.75, column * 1.5
    affine[:3, 2], affine[:3, 3] = np.cross(row, column) * gap, first
    affine[:2] *= -1
    return affine


def dataset_of(folder, images, empty=0):
    """A dataset of some knees through the whole of curation; ``empty`` of the slices show nothing."""
    for k, image in enumerate(images):
        fields = {
            "PatientID": f"P{k}",
            "StudyInstanceUID": f"1.{k}",
            "SeriesInstanceUID": f"1.{k}.1",
            "StudyDescription": "MR KNEE",
        }
        write_dicom(folder / "in" / str(k), image, **fields)
    target = place(str(folder / "out"))
    manifest = curate(
        Job(place(str(folder / "in")), target, Curation(min_pixels=32, near_duplicates="keep"), b"k" * 32),
        in_process,
    )
    assert manifest.counts["slices"] == sum(len(image) for image in images) - empty
    return target
