"""The paper's metrics: golden numbers, and the published definitions written out again."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt

from mricore.evaluation.metrics.measure import measure, measure_together
from mricore.evaluation.metrics.paper import voxel_surface_dice


@pytest.fixture
def square():
    """Six slices of 64 x 64 with a square of 20 x 20."""
    mask = np.zeros((6, 64, 64), np.uint8)
    mask[:, 20:40, 20:40] = 1
    return mask


def volume_values(predicted, truth):
    found = measure(predicted, truth, (9.0, 9.0, 9.0), ["square"], "paper")
    values = {metric: value for suffix, label, metric, value in found if (suffix, label) == ("", "square")}
    return values["dice_3d"], values["nsd_voxel"]


def as_published(predicted, truth):
    """Surface by erosion, distances to the other surface everywhere, one voxel of tolerance."""
    predicted, truth = predicted.squeeze(), truth.squeeze()
    surfaces = [mask ^ binary_erosion(mask) for mask in (predicted, truth)]
    distances = [distance_transform_edt(~one) for one in surfaces]
    total = surfaces[0].sum() + surfaces[1].sum()
    if total == 0:
        return 1.0
    return ((distances[1][surfaces[0]] <= 1).sum() + (distances[0][surfaces[1]] <= 1).sum()) / total


def test_golden_numbers(square):
    dilated = np.zeros_like(square)
    dilated[:, 19:41, 19:41] = 1
    nothing = np.zeros_like(square)
    assert volume_values(np.roll(square, 1, 2), square) == pytest.approx((0.95, 1.0), abs=5e-5)
    assert volume_values(np.roll(square, 2, 2), square) == pytest.approx((0.90, 0.8623), abs=5e-5)
    assert volume_values(dilated, square) == pytest.approx((0.905, 0.990), abs=5e-4)
    assert volume_values(nothing, square) == pytest.approx((0, 0), abs=1e-6)
    assert volume_values(nothing, nothing) == (1, 1)


def test_the_ends_of_a_volume_count_as_surface_all_over():
    """The same error in the plane is judged more mildly the fewer slices there are."""
    scores = []
    for slices in (2, 6, 40):
        truth = np.zeros((slices, 64, 64), np.uint8)
        truth[:, 20:40, 20:40] = 1
        scores.append(volume_values(np.roll(truth, 3, 2), truth)[1])
    assert scores[0] > scores[1] + 0.05 > scores[2] + 0.1


@pytest.mark.numerics
def test_it_equals_the_published_definition_on_noise_and_at_the_edges():
    rng = np.random.default_rng(1)
    for trial in range(80):
        shape = (int(rng.integers(1, 5)), *rng.integers(2, 9, 2))
        predicted, truth = (rng.random(shape) < rng.choice([0, 0.1, 0.5, 0.95]) for _ in range(2))
        found = voxel_surface_dice(predicted, truth)
        assert found == pytest.approx(as_published(predicted, truth), abs=1e-12), trial


def test_slices_are_judged_in_pairs_and_pairs_may_join_volumes(square):
    first, second = square[:3], square[:2].copy()
    wrong = second * 0
    alone = [row for row in measure(first, first, (1, 1, 1), ["square"], "paper") if row[2] == "dice_2d"]
    assert [(suffix, label) for suffix, label, _, _ in alone] == [
        *[("/0", "square"), ("/0", "mean"), ("/2", "square"), ("/2", "mean")]
    ]
    together = measure_together([(first, first), (wrong, second)], ["square"])
    pairs = [{row[0]: row[3] for row in rows if row[1:3] == ("square", "dice_2d")} for rows in together]
    assert pairs[0] == {
        "/0": 1.0,
        "/2": pytest.approx(2 / 3),
    }  # a slice found and one of the next volume missed
    assert pairs[1] == {"/1": pytest.approx(0, abs=1e-6)}
