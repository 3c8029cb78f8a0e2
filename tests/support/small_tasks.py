"""Labelled tasks made in memory, whose classes are known shapes of known brightness."""

import hashlib

import numpy as np
from PIL import Image

from mricore.config.task import Task
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Split
from mricore.evaluation.tasks.volume import LabelledVolume

BRIGHTNESS = (100, 220, 400, 600)
"""Of background and of classes 1 to 3."""


def declaration(classes=2, name="shapes"):
    return Task.model_validate(
        {
            "name": name,
            "title": "Shapes",
            "source": {
                "kind": "nifti",
                "images": "i/{case}.nii",
                "masks": ("m/{case}.nii",),
                "patient": "{case}",
            },
            "classes": {f"class {label}": (label,) for label in range(1, classes + 1)},
            "split": {"pool": 0.5, "development": 0.25, "test": 0.25},
            "about": {"licence": "none", "where_to_get": "made"},
        }
    )


def small_task(
    seed=0,
    pool=6,
    development=2,
    test=3,
    classes=2,
    slices=4,
    size=(48, 40),
    noise=10.0,
    name="shapes",
    shuffled=False,
):
    """Volumes with a square per class; the first slice shows nothing; ``shuffled`` masks lie elsewhere."""
    rng = np.random.default_rng(seed)
    count = pool + development + test
    made = [_volume(rng, classes, slices, size, noise) for _ in range(count)]
    masks = [mask for _, mask in made]
    if shuffled:
        masks = [np.roll(mask, (size[0] // 2, size[1] // 2), (1, 2)) for mask in masks]
    volumes = tuple(
        LabelledVolume(
            *(f"case_{index:03d}", f"patient_{index:03d}", image, masks[index], (4.0, 1.0, 1.0)),
            {"vendor": f"vendor {index % 2}"},
        )
        for index, (image, _) in enumerate(made)
    )
    names = [volume.patient for volume in volumes]
    split = Split(
        tuple(names[:pool]), tuple(names[pool : pool + development]), tuple(names[pool + development :])
    )
    digest = hashlib.sha256(b"".join(one.image.tobytes() + one.mask.tobytes() for one in volumes)).hexdigest()
    return LabelledTask(declaration(classes, name), volumes, split, digest)


def _volume(rng, classes, slices, size, noise):
    mask = np.zeros((slices, *size), np.uint8)
    side = min(size) // (2 * classes)
    for index in range(1, slices):
        for label in range(1, classes + 1):
            row = rng.integers(0, size[0] - side)
            column = rng.integers(0, size[1] // classes - side) + (label - 1) * size[1] // classes
            mask[index, row : row + side, column : column + side] = label
    image = np.array(BRIGHTNESS)[mask] + rng.normal(0, noise, mask.shape)
    return image.astype(np.float32), mask


def pixel_features(labelled, grid=(24, 20)):
    """Mean brightness of each patch, its square and a constant as features: classes can be told by them."""
    from mricore.evaluation.features import block_means

    def of(case):
        (volume,) = (one for one in labelled.volumes if one.case == case)
        means = np.stack([block_means(image.astype(float) / 600, *grid) for image in volume.image])
        return np.stack([means, means**2, means**3], axis=-1).astype(np.float32)

    return of


DECLARATION = """
name = "shapes"
title = "Shapes"
[source]
kind = "png"
images = "images/{case}_{slice}.png"
masks = "masks/{case}_{slice}.png"
patient = "{case}"
spacing = [4.0, 1.0, 1.0]
[classes]
"class 1" = [1]
"class 2" = [2]
[split]
pool = 0.6
development = 0.2
test = 0.2
[about]
licence = "none"
where_to_get = "made"
"""


def write_small_task(root, **options):
    """The same as PNG files below ``root``; returns the declaration's path."""
    for volume in small_task(**options).volumes:
        for index, (image, mask) in enumerate(zip(volume.image, volume.mask, strict=True)):
            name = f"{volume.case.replace('_', '')}_{index:02d}.png"
            for folder, pixels in (("images", np.clip(image / 3, 0, 255)), ("masks", mask)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(root / folder / name)
    path = root / "shapes.toml"
    path.write_text(DECLARATION)
    return path
