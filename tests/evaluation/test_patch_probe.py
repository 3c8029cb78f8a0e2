"""Segmentation from patches: exact where patches tell the classes, at chance where masks are of others."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from small_tasks import pixel_features, small_task

from mricore.config.probes import PatchProbe
from mricore.errors import UserError
from mricore.evaluation import patch_probe
from mricore.evaluation.patch_probe import Taught, learned, mean_dice, run_draw, segmented, shares
from mricore.evaluation.proxy import SegmentationProxy
from mricore.evaluation.tasks.drawing import draw

HEADS = [PatchProbe(), PatchProbe(head="knn")]


def score(outcome):
    return float(
        np.nanmean([row.value for row in outcome.rows if row.metric == "dice_2d" and row.label == "mean"])
    )


def one_draw(labelled, settings, number=0, **options):
    few = draw(labelled, number, seed=0, training=3, validation=3)
    return run_draw("e", pixel_features(labelled), labelled, few, settings, **options)


def test_a_patch_belongs_to_classes_by_its_share_of_pixels():
    mask = np.zeros((4, 4), np.uint8)
    mask[:2, 0] = 1
    mask[2:, 2:] = 2
    found = shares(mask, (2, 2), 3)
    np.testing.assert_allclose(found[0, 0], [0.5, 0.5, 0])
    np.testing.assert_allclose(found[1, 1], [0, 0, 1])
    ragged = shares(np.array([[0, 1, 1]], np.uint8), (1, 2), 2)  # patches of one pixel and a half
    np.testing.assert_allclose(ragged[0], [[2 / 3, 1 / 3], [0, 1]])


@pytest.mark.parametrize("settings", HEADS, ids=["linear", "knn"])
def test_classes_that_brightness_tells_are_segmented_and_masks_of_other_places_are_not(settings):
    found = one_draw(small_task(), settings)
    assert score(found) > 0.8
    assert score(one_draw(small_task(shuffled=True), settings)) < 0.1
    names = {row.patient for row in found.rows}
    assert names == set(small_task().split.test)
    assert {row.label for row in found.rows} == {"class 1", "class 2", "mean"}
    assert {row.mode for row in found.rows} == {settings.head}
    assert found.predictions["case_008"].shape == (4, 48, 40)


@pytest.mark.numerics
def test_hard_patches_give_the_masks_that_scikit_learn_gives():
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 3, (6, 6)), np.ones((8, 8))).astype(np.uint8)  # patches of one class each
    features = (np.eye(3)[mask[::8, ::8]] @ rng.normal(size=(3, 4)) + rng.normal(0, 0.8, (6, 6, 4))).astype(
        np.float32
    )
    scores, _ = learned([Taught(features, mask)], [], 3, PatchProbe(l2=(0.01,)))
    flat = features.reshape(36, 4).astype(np.float64)
    scaled = (flat - flat.mean(0)) / flat.std(0)
    theirs = LogisticRegression(C=1 / (0.01 * 36), tol=1e-8, max_iter=5000).fit(
        scaled, mask[::8, ::8].ravel()
    )
    expected = theirs.predict(scaled).reshape(6, 6)
    assert (scores(features).argmax(-1) == expected).all()
    assert (segmented(scores, features[None], (6, 6))[0] == expected).all()


def test_scores_are_enlarged_before_the_classes_are_chosen():
    grid = np.zeros((1, 2, 2), np.float32)
    grid[0, 1] = [0, 1]
    grid[0, 0] = [1, 0]
    edge = segmented(lambda found: found, grid[None], (1, 8))[0, 0]
    assert edge.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_strength_is_chosen_on_validation_slices_alone():
    rng = np.random.default_rng(1)
    labelled = small_task(noise=60.0)
    features = pixel_features(labelled)
    few = draw(labelled, 0, seed=0, training=3, validation=3)
    taught = [
        Taught(
            np.concatenate([features(key.case)[key.index], rng.normal(size=(24, 20, 200))], -1),
            labelled.slice(key)[1],
        )
        for key in (*few.training, *few.validation)
    ]
    grid = (1e-3, 1e-1, 10.0)
    scores, chosen = learned(taught[:3], taught[3:], 3, PatchProbe(l2=grid))
    alone = {l2: mean_dice(learned(taught[:3], [], 3, PatchProbe(l2=(l2,)))[0], taught[3:], 3) for l2 in grid}
    assert mean_dice(scores, taught[3:], 3) == pytest.approx(max(alone.values()), abs=0.01)
    assert alone[chosen] == pytest.approx(max(alone.values()), abs=0.01)
    with pytest.raises(ValueError, match="validation slices"):
        learned(taught[:3], [], 3, PatchProbe(l2=grid))


def test_dice_counts_classes_where_they_are_and_nothing_else():
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 1
    perfect = Taught(np.eye(3, dtype=np.float32)[mask], mask)
    assert mean_dice(lambda found: found, [perfect], 3) == 1  # class 2 is nowhere, which counts for nothing
    assert mean_dice(lambda found: found[..., [1, 0, 2]], [perfect], 3) == 0
    assert mean_dice(lambda found: found * 0 + [0, 1, 0], [perfect], 3) == pytest.approx(2 * 8 / 24)


def test_the_same_draw_gives_the_same_rows_and_the_part_is_what_was_asked_for():
    labelled = small_task()
    assert one_draw(labelled, HEADS[0]).rows == one_draw(labelled, HEADS[0]).rows
    development = one_draw(labelled, HEADS[0], part="development")
    assert {row.patient for row in development.rows} == set(labelled.split.development)


class Brightness:
    """Stands in for an encoder: brightness of each patch."""

    def __init__(self, seen=None):
        self.seen = [] if seen is None else seen

    def dense(self, images):
        self.seen.extend(float(image.sum()) for image in images)
        return np.stack([pixel_grid(image) for image in images])


def pixel_grid(image):
    means = patch_probe.block_means(np.asarray(image, np.float64) / 600, 24, 20)
    return np.stack([means, means**2, means**3], -1).astype(np.float32)


def test_the_proxy_looks_at_pool_and_development_patients_alone():
    labelled = small_task(pool=8)
    proxy = SegmentationProxy.of(labelled, "slice", seed=0)
    encoder = Brightness()
    assert proxy.score(encoder) > 0.7
    assert proxy.score(encoder) == proxy.score(encoder)
    tests = {float(image.sum()) for volume in labelled.of("test") for image in volume.image}
    assert encoder.seen and not tests & set(encoder.seen)
    wrong = SegmentationProxy.of(small_task(pool=8, shuffled=True), "slice", seed=0)
    assert wrong.score(Brightness()) < 0.1


def test_the_proxy_judges_no_patient_that_it_learned_from():
    labelled = small_task(pool=8)
    proxy = SegmentationProxy.of(labelled, "slice", seed=0)
    owner = {float(image.sum()): volume.patient for volume in labelled.volumes for image in volume.image}
    patients = [owner[float(image.sum())] for image in proxy.images]
    for taught, judged in proxy.draws:
        assert len(taught) == 5
        assert judged and not {patients[place] for place in taught} & {patients[place] for place in judged}


def test_a_proxy_that_could_judge_nobody_is_refused():
    with pytest.raises(UserError, match="nobody is left to judge"):
        SegmentationProxy.of(small_task(pool=5, development=0), "slice", seed=0)
