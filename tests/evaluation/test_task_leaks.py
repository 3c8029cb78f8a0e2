"""Leaks: what a task shares with a curated dataset is found, also rescaled or turned, and nothing else is."""

import numpy as np
import pytest
from knee_series import picture
from task_files import dataset_of, declared

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.tasks import leaks
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.leaks import find_leaks
from mricore.evaluation.tasks.splits import Split
from mricore.evaluation.tasks.volume import LabelledVolume
from mricore.imaging.fingerprints import distance


def smooth(seed, slices=8):
    """Slices (slices, rows, columns) that look like nothing else."""
    return np.stack([picture(seed, number) for number in range(slices)])


def task_of(images):
    """A task in memory with a patient for each image; the last one is for the test."""
    volumes = tuple(
        LabelledVolume(f"made-{k:02d}", f"made-p{k:02d}", image, np.zeros(image.shape, np.uint8), (1, 1, 1))
        for k, image in enumerate(images, 1)
    )
    names = tuple(one.patient for one in volumes)
    return LabelledTask(declared(), volumes, Split(names[:-1], (), names[-1:]), "0")


def eight_bits(image):
    low, high = np.percentile(image, [0.5, 99.5])
    return np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def rescaled(image):
    return (image * 0.31 + 17).astype(np.float32)


def turned(image):
    return np.ascontiguousarray(np.rot90(image, 1, (1, 2)))


def mirrored(image):
    return np.ascontiguousarray(image[:, :, ::-1])


def noisy(image):
    rng = np.random.default_rng(1)
    return image + rng.normal(0, 0.005 * np.ptp(image), image.shape)


@pytest.mark.parametrize("copy", [np.array, eight_bits, rescaled, turned, mirrored, noisy])
def test_copies_of_stored_slices_are_found(tmp_path, copy):
    stored = [smooth(seed) for seed in (1, 2)]
    dataset = dataset_of(tmp_path, stored)
    found = find_leaks(task_of([smooth(3), copy(stored[1]), smooth(4)]), dataset)
    assert found.verdict == "found"
    assert dict(found.found) == {"made-02": tuple(range(8))}
    assert found.patients == ("made-p02",)
    assert dict(found.parts) == {"pool": 1, "development": 0, "test": 0}
    assert (found.slices, found.unclear, found.searched) == (24, 0, 16)
    assert "8 are in the pretraining data, of 1 patients (1 of pool)" in str(found)


def test_other_slices_are_not_found(tmp_path):
    dataset = dataset_of(tmp_path, [smooth(1)])
    found = find_leaks(task_of([smooth(2), smooth(3)]), dataset)
    assert found.verdict == "none"
    assert (dict(found.found), found.patients) == ({}, ())
    assert "none is in the pretraining data, compared with 8 slices" in str(found)


def test_a_slice_alone_is_possible_and_one_without_structure_is_unclear(tmp_path):
    dataset = dataset_of(tmp_path, [smooth(1)])
    alone = smooth(2)
    alone[5] = smooth(1)[4]
    alone[0] = 7
    found = find_leaks(task_of([smooth(3), alone]), dataset)
    assert found.verdict == "possible"
    assert dict(found.found) == {"made-02": (5,)}
    assert dict(found.parts) == {"pool": 0, "development": 0, "test": 1}
    assert (found.slices, found.unclear) == (15, 1)
    assert "1 may be in" in str(found)
    assert "1 more show too little to tell" in str(found)


def test_bands_find_what_a_comparison_of_all_pairs_finds():
    rng = np.random.default_rng(5)
    ours = np.packbits(rng.random((60, 256)) < 0.4, axis=1)
    others = ours[rng.integers(60, size=400)].copy()
    for one in others:
        bits = np.unpackbits(one)
        bits[rng.permutation(256)[: rng.integers(15)]] ^= 1
        one[:] = np.packbits(bits)
    known = leaks._Prints(ours)
    for other in others:
        near = {k for k, one in enumerate(ours) if distance(one.tobytes(), other.tobytes()) <= 7}
        assert known.near(other[None]) == near
    assert known.near(others) == set.union(*(known.near(other[None]) for other in others))


def test_slices_that_are_not_stored_are_not_searched(tmp_path):
    image = smooth(1)
    image[3] = 100
    found = find_leaks(task_of([smooth(2), image]), dataset_of(tmp_path, [image], empty=1))
    assert (found.searched, found.unclear) == (7, 1)
    assert dict(found.found) == {"made-02": (0, 1, 2, 4, 5, 6, 7)}


def test_a_folder_without_a_dataset_is_told(tmp_path):
    with pytest.raises(UserError):
        find_leaks(task_of([smooth(1), smooth(2)]), place(str(tmp_path)))
