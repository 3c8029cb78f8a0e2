"""Zero-shot clusters: scored as brute force scores them, exact on planted features, at chance on noise."""

import numpy as np
import pytest
from small_tasks import pixel_features, small_task

from mricore.config.probes import Clusters
from mricore.errors import UserError
from mricore.evaluation.clusters import BEST, MAJORITY, best_cluster_dice, enlarged, majority, run
from mricore.evaluation.features import pixels_of
from mricore.evaluation.tasks.volume import SliceKey

SMALL = Clusters(counts=(2, 8))


def planted(labelled, grid, rng=None):
    """Features that are the class of a patch's middle, or noise."""

    def of(case):
        (volume,) = (one for one in labelled.volumes if one.case == case)
        rows = ((np.arange(grid[0]) + 0.5) * volume.mask.shape[1] / grid[0]).astype(int)
        columns = ((np.arange(grid[1]) + 0.5) * volume.mask.shape[2] / grid[1]).astype(int)
        labels = volume.mask[:, rows[:, None], columns]
        if rng is not None:
            return rng.normal(size=(*labels.shape, 3)).astype(np.float32)
        return np.eye(4, dtype=np.float32)[labels]

    return of


def mean(rows, metric, mode):
    return float(np.mean([row.value for row in rows if row.metric == metric and row.mode == mode]))


def test_a_pixel_takes_the_cluster_of_the_patch_that_its_centre_lies_in():
    clusters = np.arange(6).reshape(2, 3)
    shown = enlarged(clusters, (5, 7))
    for row in range(5):
        for column in range(7):
            assert shown[row, column] == clusters[int((row + 0.5) * 2 / 5), int((column + 0.5) * 3 / 7)]


@pytest.mark.numerics
def test_both_scores_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters = rng.integers(0, 5, (6, 7))
        mask = rng.integers(0, 3, (13, 15)).astype(np.uint8)
        large = enlarged(clusters, mask.shape)
        target = mask == 1
        overlaps = [int((target & (large == cluster)).sum()) for cluster in range(5)]
        best = large == overlaps.index(max(overlaps))
        assert best_cluster_dice(large, target) == pytest.approx(
            2 * (best & target).sum() / (best.sum() + target.sum())
        )
        names = majority([large], [mask], 5, 3)
        for cluster in range(5):
            inside = mask[large == cluster].tolist()
            assert names[cluster] == max(range(3), key=lambda label: (inside.count(label), -label))


@pytest.mark.parametrize("scope", ["image", "pooled", "transferred"])
def test_features_that_are_the_classes_segment_and_noise_does_not(scope):
    labelled = small_task(size=(48, 40), classes=2)
    settings = Clusters(counts=(4,), scope=scope, objects="each", starts=3)
    mode = "k=4" if scope == "image" else f"{scope} k=4"
    rows = run("e", planted(labelled, (48, 40)), labelled, 0, 0, settings).rows
    noise = run("e", planted(labelled, (48, 40), np.random.default_rng(0)), labelled, 0, 0, settings).rows
    assert {row.mode for row in rows} == {mode}
    assert mean(rows, MAJORITY, mode) > 0.99
    assert mean(noise, MAJORITY, mode) < 0.05  # the classes are rare, so each cluster is called background
    if scope == "transferred":
        assert {row.metric for row in rows} == {MAJORITY}
    else:
        assert mean(rows, BEST, mode) > 0.99
        assert mean(noise, BEST, mode) < 0.3


def test_shuffled_masks_score_at_chance():
    true = small_task(classes=1)
    wrong = small_task(classes=1, shuffled=True)
    settings = Clusters(counts=(2,), objects="each")
    # the chance: two clusters of random pixels, of which the better one is taken
    found = mean(run("e", planted(true, (24, 20)), true, 0, 0, settings).rows, BEST, "k=2")
    shuffled = mean(run("e", planted(true, (24, 20)), wrong, 0, 0, settings).rows, BEST, "k=2")
    assert found > 0.8
    assert shuffled < 0.55  # a square of a quarter of the slice against all the rest: 2 * 0.25 / 1.0


def test_only_slices_with_one_class_seek_a_best_cluster_unless_each_is_asked_for():
    labelled = small_task(classes=2)
    features = pixel_features(labelled)
    single, each = (
        run("e", features, labelled, 0, 0, Clusters(counts=(4,), objects=objects)).rows
        for objects in ("single", "each")
    )
    assert {row.metric for row in single} == {MAJORITY}  # both classes are on every labelled slice
    assert sum(row.metric == BEST for row in each) == 3 * 3 * (2 + 1)
    assert {row.label for row in each} == {"class 1", "class 2", "mean"}
    values = {row.label: row.value for row in each if row.case == each[0].case and row.metric == BEST}
    assert values["mean"] == pytest.approx((values["class 1"] + values["class 2"]) / 2)


def test_raw_pixels_are_a_baseline_of_slices_scaled_and_averaged():
    labelled = small_task(classes=1, noise=1.0)
    pixels = pixels_of(labelled.volumes, 128)
    first = labelled.volumes[0].image[1].astype(np.float64)
    np.testing.assert_allclose(
        pixels["case_000"][1, ..., 0], (first - first.min()) / (first.max() - first.min()), atol=1e-6
    )
    assert pixels_of(labelled.volumes, 16)["case_000"].shape == (4, 16, 16, 1)
    rows = run("pixels", pixels.__getitem__, labelled, 0, 0, Clusters(counts=(2,))).rows
    assert mean(rows, BEST, "k=2") > 0.99  # the square is brighter than all else


def test_a_draw_is_another_start_and_the_same_draw_the_same_clusters():
    labelled = small_task()
    noise = planted(labelled, (12, 10), np.random.default_rng(1))
    features = {volume.case: noise(volume.case) for volume in labelled.volumes}.__getitem__
    settings = Clusters(counts=(8,), objects="each")
    first, again, other = (run("e", features, labelled, draw, 0, settings).rows for draw in (0, 0, 1))
    assert first == again
    assert [row.case for row in first] == [row.case for row in other]
    assert [row.value for row in first] != [row.value for row in other]


def test_maps_are_given_of_the_slices_asked_for_in_their_own_pixels():
    labelled = small_task()
    keys = run("e", pixel_features(labelled), labelled, 0, 0, SMALL).rows[0].case.split("/")
    key = SliceKey(keys[0], int(keys[1]))
    maps = run("e", pixel_features(labelled), labelled, 0, 0, SMALL, pictures=[key]).maps
    assert set(maps) == {2, 8}
    assert maps[8][key].shape == (48, 40)
    assert set(np.unique(maps[8][key])) <= set(range(8))


def test_more_clusters_than_patches_are_left_out_and_too_few_patches_refused():
    labelled = small_task()
    rows = run("e", pixel_features(labelled, (3, 2)), labelled, 0, 0, SMALL).rows
    assert {row.mode for row in rows} == {"k=2"}
    with pytest.raises(UserError, match="only 6 patches"):
        run("e", pixel_features(labelled, (3, 2)), labelled, 0, 0, Clusters(counts=(8,)))
    with pytest.raises(ValueError, match=r"must lie in 2\.\.256"):
        Clusters(counts=(1,))


def test_transferred_clusters_look_at_no_truth_of_the_judged_patients():
    labelled = small_task(classes=2)
    settings = Clusters(counts=(8,), scope="transferred")
    predicted = run("e", pixel_features(labelled), labelled, 0, 0, settings).rows
    for volume in labelled.of("test"):  # swapping the truth swaps the scores and changes no cluster's name
        shown = volume.mask > 0
        volume.mask[shown] = 3 - volume.mask[shown]
    swapped = run("e", pixel_features(labelled), labelled, 0, 0, settings).rows
    assert np.mean([row.value for row in predicted]) > 0.8
    assert np.mean([row.value for row in swapped]) < 0.1
