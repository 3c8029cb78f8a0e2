"""Dice's coefficient against MONAI and by hand."""

import math

import numpy as np
import pytest

from mricore.evaluation.metrics.overlap import bounding_box, dice, dice_of, slice_counts


@pytest.mark.numerics
def test_it_equals_monai_wherever_the_truth_is_not_empty():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    helper = metrics.DiceHelper(
        include_background=True, apply_argmax=False, reduction="none", get_not_nans=False, ignore_empty=False
    )
    rng = np.random.default_rng(0)
    for share in (0.0005, 0.02, 0.4, 1):
        first, second = rng.random((2, 5, 16, 13)) < share
        second[0, 0, 0] = True
        wanted = float(helper(torch.from_numpy(first)[None, None], torch.from_numpy(second)[None, None]))
        assert dice(first, second) == pytest.approx(wanted, abs=1e-6)
        per_slice = helper(torch.from_numpy(first)[:, None], torch.from_numpy(second)[:, None]).flatten()
        for found, one in zip(slice_counts(first, second), per_slice, strict=True):
            if found[1:].any():  # MONAI calls two empty slices 1
                assert dice_of(found) == pytest.approx(float(one), abs=1e-6)


def test_known_overlaps():
    first, second = np.zeros((2, 4, 10), bool)
    first[:, :6], second[:, 3:9] = True, True
    assert dice(first, second) == 0.5
    assert dice(first, first) == 1
    assert dice(first, first & False) == 0
    assert math.isnan(dice(first & False, first & False))


def test_the_box_holds_everything_and_nothing_more():
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) is None
    mask[1, 2, 3] = mask[4, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 5), slice(2, 3), slice(3, 7))
