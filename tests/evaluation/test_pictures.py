"""Stored pictures: what was saved comes back, small and the same bytes every time."""

import numpy as np
import pytest

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.pictures import (
    MOST,
    SIDE,
    Shown,
    load_pictures,
    save_pictures,
    shown,
    slices_to_show,
)
from mricore.evaluation.tasks.volume import LabelledVolume, SliceKey


def picture(rows=30, columns=20, **layers):
    rng = np.random.default_rng(0)
    image = rng.normal(100, 30, (rows, columns))
    truth = rng.integers(0, 3, (rows, columns)).astype(np.uint8)
    return shown(
        "liver", SliceKey("case-1", 7), image, truth, layers or {"prediction": truth}, (5.0, 2.0, 1.0)
    )


def test_pictures_come_back_as_they_were_saved(tmp_path):
    target = place(str(tmp_path))
    saved = [picture(), picture(40, 50, **{"k=4": np.full((40, 50), 3), "k=8": np.full((40, 50), 7)})]
    saved.append(Shown("liver", "case-2", 0, saved[0].image))
    save_pictures(target, "pictures/a.npz", saved)
    found = load_pictures(target, "pictures/a.npz")
    for before, after in zip(saved, found, strict=True):
        assert (after.key, after.aspect) == (before.key, before.aspect)
        np.testing.assert_array_equal(after.image, before.image)
        assert after.layers.keys() == before.layers.keys()
        for name, layer in before.layers.items():
            np.testing.assert_array_equal(after.layers[name], layer)
            assert after.layers[name].dtype == np.uint8
    np.testing.assert_array_equal(found[0].truth, saved[0].truth)
    assert found[2].truth is None
    assert found[0].key == "liver/case-1/7"
    assert found[0].aspect == 2.0


def test_the_same_pictures_give_the_same_bytes(tmp_path):
    target = place(str(tmp_path))
    for name in ("a", "b"):
        save_pictures(target, name, [picture()])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_large_slices_are_thinned_out_alike(tmp_path):
    large = picture(2 * SIDE + 1, 100)
    assert max(large.image.shape) <= SIDE
    rng = np.random.default_rng(0)
    rng.normal(100, 30, (2 * SIDE + 1, 100))
    truth = rng.integers(0, 3, (2 * SIDE + 1, 100))
    np.testing.assert_array_equal(large.truth, truth[::3, ::3])
    assert large.image.shape == large.truth.shape
    save_pictures(place(str(tmp_path)), "a", [large] * MOST)
    assert (tmp_path / "a").stat().st_size < 1_000_000


def test_grey_runs_between_the_percentiles_and_a_flat_slice_is_black():
    image = picture().image
    assert image.min() == 0
    assert image.max() == 255
    flat = shown("t", SliceKey("c", 0), np.full((4, 4), 9.0), None, {})
    assert not flat.image.any()


def test_too_many_or_too_large_pictures_are_refused(tmp_path):
    target = place(str(tmp_path))
    with pytest.raises(ValueError, match="at most"):
        save_pictures(target, "a", [picture()] * (MOST + 1))
    with pytest.raises(ValueError, match="at most"):
        save_pictures(target, "a", [Shown("t", "c", 0, np.zeros((SIDE + 1, 2), np.uint8))])


@pytest.mark.parametrize("layer", [np.zeros((3, 3), int), np.full((4, 4), 256), np.full((4, 4), -1)])
def test_maps_that_do_not_fit_are_refused(layer):
    with pytest.raises(ValueError, match="map"):
        shown("t", SliceKey("c", 0), np.zeros((4, 4)), None, {"prediction": layer})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"\x93NUMPY"])
def test_a_damaged_file_is_told(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="no pictures"):
        load_pictures(place(str(tmp_path)), "a")


def test_the_fullest_slice_of_each_patient_is_shown_first():
    def volume(case, patient, areas):
        mask = np.zeros((len(areas), 4, 4), np.uint8)
        for index, area in enumerate(areas):
            mask[index].flat[:area] = 1
        return LabelledVolume(case, patient, mask.astype(float), mask, (1.0, 1.0, 1.0))

    volumes = [
        volume("c3", "p2", [1, 5, 2]),
        volume("c2", "p1", [9, 1]),
        volume("c1", "p1", [0, 3]),
        volume("c4", "p3", [0, 0]),
    ]
    assert slices_to_show(volumes, 2) == [SliceKey("c1", 1), SliceKey("c3", 1)]
    assert slices_to_show(volumes[::-1], 9) == [SliceKey("c1", 1), SliceKey("c3", 1), SliceKey("c2", 0)]
