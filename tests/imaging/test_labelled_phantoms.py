"""The labelled task of phantoms: reproducible, all organs where they should be, and enough for draws."""

import nibabel as nib
import numpy as np
import pytest

from mricore.config.task import load_task
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.reading import read_volumes
from mricore.imaging.phantoms.labelled import LabelledSpec, write_labelled
from mricore.imaging.phantoms.tissues import Tissue

SMALL = LabelledSpec(patients=2, matrix=48, slices=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("task") / "phantoms"
    write_labelled(made)
    return made


@pytest.fixture(scope="module")
def task(folder):
    return read_volumes(load_task("phantoms"), folder)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_spec_gives_the_same_bytes_and_another_seed_other_bodies(tmp_path):
    for name, spec in (("a", SMALL), ("b", SMALL), ("c", LabelledSpec(2, 1, 48, 4))):
        write_labelled(tmp_path / name, spec)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert len(first) == 5  # two images, two masks, what they were made of
    masks = [name for name in first if name.startswith("masks")]
    assert all(first[name] != other[name] for name in masks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_every_patient_shows_every_organ_and_none_is_left_out(task):
    assert task.left_out == {}
    assert {part: len(task.split.patients(part)) for part in ("pool", "development", "test")} == {
        "pool": 10,
        "development": 4,
        "test": 6,
    }
    for volume in task.volumes:
        shown = [(volume.mask == number).any((1, 2)).sum() for number in (1, 2, 3)]
        assert min(shown) >= 2, (volume.case, shown)
    assert {name["sequence"] for name in (volume.categories for volume in task.volumes)} == {"T1", "T2"}


def test_a_draw_takes_ten_slices_of_ten_patients(task):
    drawn = draw(task, 0, 0)
    keys = [*drawn.training, *drawn.validation]
    assert len(drawn.training) == len(drawn.validation) == 5
    assert len({task.patient(key) for key in keys}) == 10


def test_organs_lie_where_radiologists_expect_them(task):
    """Liver at the left of a slice, spleen at the right; organs darker or brighter than the fat around."""
    for volume in task.volumes:
        columns = np.arange(volume.mask.shape[2]) / volume.mask.shape[2]
        liver, spleen = ((volume.mask == number).sum((0, 1)) @ columns for number in (1, 2))
        liver, spleen = liver / (volume.mask == 1).sum(), spleen / (volume.mask == 2).sum()
        assert liver < 0.5 < spleen
        rows = np.arange(volume.mask.shape[1]) / volume.mask.shape[1]
        kidneys = (volume.mask == 3).sum((0, 2)) @ rows / (volume.mask == 3).sum()
        assert kidneys > 0.5  # at the back, which is below


def test_masks_hold_the_tissues_of_the_drawing_at_the_place_of_the_image(folder):
    image, mask = (nib.load(folder / part / "000_t1.nii") for part in ("images", "masks"))
    assert np.allclose(image.affine, mask.affine)
    values = set(np.unique(np.asarray(mask.dataobj)))
    assert values == {0, Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY}
    pixels, labels = np.asarray(image.dataobj), np.asarray(mask.dataobj)
    assert pixels[labels == Tissue.LIVER].std() < pixels.std()  # one tissue is more even than the body


def test_the_title_says_that_nobody_is_shown():
    assert "generated phantoms, not patients" in load_task("phantoms").title
