"""All metrics of a volume at once: which rows there are, and what they say of empty classes and slices."""

import math

import numpy as np
import pytest

from mricore.evaluation.metrics.measure import TOLERANCE_MM, measure
from mricore.evaluation.metrics.overlap import dice
from mricore.evaluation.metrics.surface import normalized_surface_dice

SPACING = (4.0, 0.9, 1.1)


def two_classes(seed=0):
    rng = np.random.default_rng(seed)
    truth = np.zeros((5, 20, 24), np.uint8)
    truth[1:4, 4:12, 5:15], truth[2:5, 13:18, 2:20] = 1, 2
    predicted = np.roll(truth, 1, 2)
    predicted[rng.random(truth.shape) < 0.01] = 2
    return predicted, truth


def values(rows, suffix, metric):
    return {label: value for at, label, name, value in rows if (at, name) == (suffix, metric)}


def test_every_class_and_their_mean_stand_in_every_place_once():
    rows = measure(*two_classes(), SPACING, ["liver", "spleen"], "strict")
    places = [(f"/{index}", "dice_2d") for index in range(5)] + [("", "dice_3d"), ("", "nsd_mm")]
    assert [row[:3] for row in rows] == [
        (suffix, label, metric) for suffix, metric in places for label in ("liver", "spleen", "mean")
    ]


def test_values_are_those_of_the_class_alone():
    predicted, truth = two_classes()
    rows = measure(predicted, truth, SPACING, ["liver", "spleen"], "strict")
    for label, name in enumerate(("liver", "spleen"), 1):
        pair = predicted == label, truth == label
        assert values(rows, "", "dice_3d")[name] == dice(*pair)
        assert values(rows, "", "nsd_mm")[name] == normalized_surface_dice(*pair, SPACING, TOLERANCE_MM)
        for index in range(5):
            wanted = dice(pair[0][index], pair[1][index])
            assert values(rows, f"/{index}", "dice_2d")[name] == pytest.approx(wanted, nan_ok=True)
    assert values(rows, "", "nsd_mm")["mean"] == pytest.approx(
        np.mean([values(rows, "", "nsd_mm")[name] for name in ("liver", "spleen")])
    )


def test_what_is_in_neither_mask_is_undefined_and_left_out_of_the_mean():
    predicted, truth = two_classes()
    predicted, truth = (np.where(mask == 2, 0, mask).astype(np.uint8) for mask in (predicted, truth))
    rows = measure(predicted, truth, SPACING, ["liver", "spleen"], "strict")
    for metric in ("dice_3d", "nsd_mm"):
        found = values(rows, "", metric)
        assert math.isnan(found["spleen"])
        assert found["mean"] == found["liver"]
    assert all(math.isnan(value) for value in values(rows, "/4", "dice_2d").values())
    paper = measure(predicted, truth, SPACING, ["liver", "spleen"], "paper")
    assert values(paper, "", "dice_3d")["spleen"] == 1
    assert values(paper, "", "nsd_voxel")["spleen"] == 1


def test_what_is_found_where_there_is_nothing_scores_zero():
    predicted, truth = two_classes()
    rows = measure(predicted, np.zeros_like(truth), SPACING, ["liver", "spleen"], "strict")
    assert values(rows, "", "dice_3d") == {"liver": 0, "spleen": 0, "mean": 0}
    assert values(rows, "", "nsd_mm") == {"liver": 0, "spleen": 0, "mean": 0}


def test_the_tolerance_is_a_setting_in_millimetres():
    _, truth = two_classes()
    strict, mild = (
        values(measure(np.roll(truth, 1, 2), truth, SPACING, ["a", "b"], "strict", one), "", "nsd_mm")["a"]
        for one in (0.5, 1.1)
    )
    assert strict < mild == 1  # moved by one column of 1.1 mm


def test_the_mask_of_the_truth_is_perfect_and_a_single_slice_too():
    _, truth = two_classes()
    for mask in (truth, truth[2:3]):
        for mode in ("strict", "paper"):
            rows = measure(mask, mask, SPACING, ["a", "b"], mode)
            assert {value for *_, value in rows if not math.isnan(value)} == {1.0}


@pytest.mark.parametrize(
    ("predicted", "classes", "said"),
    [
        (np.full((2, 3, 3), 2, np.uint8), ["a"], "value 2"),
        (np.zeros((2, 3, 4), np.uint8), ["a"], "one shape"),
        (np.zeros((2, 3, 3), np.uint8), [], "names"),
        (np.zeros((2, 3, 3), np.uint8), ["a", "mean"], "names"),
    ],
)
@pytest.mark.parametrize("mode", ["strict", "paper"])
def test_what_does_not_fit_is_refused(predicted, classes, said, mode):
    with pytest.raises(ValueError, match=said):
        measure(predicted, np.zeros((2, 3, 3), np.uint8), SPACING, classes, mode)
