"""The judgement of an encoder: finds what is there, and says what it could not judge."""

import numpy as np
import pytest

from mricore.evaluation.protocol import LabelledSlices, embed_slices, judge


def judged(features, patients, before=None, **labels):
    return judge(LabelledSlices([], patients, labels), features, before, seed=0)


def test_informative_features_score_and_noise_does_not(world):
    rng = np.random.default_rng(2)
    features, labels, patients = world(rng)
    noise = rng.normal(size=features.shape).astype(np.float32)
    (found,) = judged(features, patients, noise, kind=labels)
    assert found.after.value > 0.85
    assert found.before.value < found.chance + 0.1
    assert found.difference.interval.low > 0.3
    assert found.difference.interval.value == pytest.approx(found.after.value - found.before.value)
    assert 0 < found.difference.p < 0.01
    assert (found.slices, found.patients, found.classes) == (120, 12, 3)
    assert found.chance == pytest.approx(1 / 3)
    assert "k-NN accuracy" in str(found)


def test_shuffled_labels_score_at_chance(world):
    rng = np.random.default_rng(3)
    features, labels, patients = world(rng, patients=30)
    (shuffled,) = judged(features, patients, kind=rng.permutation(labels))
    assert abs(shuffled.after.value - 1 / 3) < 0.09  # standard error 0.027


def test_p_values_are_corrected_for_the_number_of_tasks(world):
    rng = np.random.default_rng(4)
    features, labels, patients = world(rng, signal=0.8)
    noise = rng.normal(size=features.shape).astype(np.float32)
    (alone,) = judged(features, patients, noise, kind=labels)
    several = judged(features, patients, noise, kind=labels, again=labels, thrice=labels)
    assert 0 < alone.difference.p < 0.1
    assert [one.difference.p for one in several] == pytest.approx([3 * alone.difference.p] * 3)


def test_tasks_that_cannot_be_judged_say_why(world):
    features, labels, patients = world(np.random.default_rng(3))
    rare = np.where(patients == "p0", "rare", "common")
    scores = judged(features, patients, rare=rare, none=np.full(len(labels), "unknown"))
    assert [score.after for score in scores] == [None, None]
    assert "only one class" in str(scores[0])
    assert "rare (10)" in str(scores[0])
    assert "no class" in str(scores[1])
    assert "120 slices of unknown class" in str(scores[1])


def test_slices_that_cannot_be_judged_are_counted_and_can_still_mislead(world):
    features, labels, patients = world(np.random.default_rng(5))
    alone = labels.astype("<U8")
    alone[patients == "p0"] = "wrist"
    alone[patients == "p1"] = "unknown"
    (score,) = judged(features, patients, kind=alone)
    assert "wrist (10), seen in one patient only" in score.note
    assert "10 slices of unknown class" in score.note
    assert score.note in str(score)
    assert (score.slices, score.patients, score.classes) == (100, 10, 3)
    p0, p3 = patients == "p0", patients == "p3"
    features[p3] = features[p3][0]
    before = judged(features, patients, kind=alone)[0].after.value
    features[p0] = features[p3]  # the wrist looks like p3 and takes all ten votes
    assert judged(features, patients, kind=alone)[0].after.value < before


def test_few_patients_are_mentioned(world):
    few = world(np.random.default_rng(6), patients=6)
    many = world(np.random.default_rng(6), patients=24)
    assert "only 6 patients" in judged(few[0], few[2], kind=few[1])[0].note
    assert judged(many[0], many[2], kind=many[1])[0].note == ""


def test_an_encoder_that_gives_nan_is_not_judged(world):
    features, labels, patients = world(np.random.default_rng(7))
    with pytest.raises(ValueError, match="finite"):
        judged(features * np.float32("nan"), patients, kind=labels)


def test_ragged_slices_keep_their_order():
    images = [np.full((4 + n % 2, 5), n, np.float32) for n in range(6)]
    got = embed_slices(lambda batch: np.asarray(batch).mean((1, 2))[:, None].astype(np.float32), images)
    np.testing.assert_array_equal(got[:, 0], np.arange(6))
