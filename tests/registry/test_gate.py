"""The gate's verdict on rows made by hand: better, worse, noise, alike, and what cannot be compared."""

from dataclasses import replace

import numpy as np
import pytest

from mricore.config.promotion import Promotion
from mricore.errors import UserError
from mricore.evaluation.measurements import Measurement
from mricore.registry.gate import CANDIDATE, CHAMPION, judge

RULE = Promotion()


def rows(gains, noise=0.01, protocol="few_shot", metric="dice_3d", patients=8, draws=4, seed=0, label="mean"):
    """Both encoders on tasks by name; the candidate is better by the task's gain, give or take noise."""
    rng = np.random.default_rng(seed)
    made = []
    for task, gain in gains.items():
        for patient in range(patients):
            for draw in range(draws):
                place = (draw, f"p{patient}", f"c{patient}")
                value = rng.uniform(0.5, 0.7)
                for encoder, own in ((CHAMPION, value), (CANDIDATE, value + gain + rng.normal(0, noise))):
                    made.append(Measurement(protocol, task, "strict", encoder, *place, label, metric, own))
    return made


def test_better_on_every_task_passes_and_tells_by_how_much():
    verdict = judge(rows({"liver": 0.05, "spine": 0.04}), RULE)
    assert verdict.passes
    assert [one.difference.question.task for one in verdict.findings] == ["liver", "spine", "all tasks"]
    assert "better in the mean and nowhere worse: few_shot (strict), dice_3d, all tasks +0.04" in str(verdict)


def test_worse_on_one_task_stops_however_good_the_mean_is():
    verdict = judge(rows({"liver": 0.3, "spine": -0.05}), RULE)
    assert not verdict.passes
    assert "spine: is worse, as the interval reaches -0.0" in str(verdict)
    assert "liver" not in str(verdict)


@pytest.mark.parametrize("seed", range(3))
def test_a_gain_within_noise_stops(seed):
    verdict = judge(rows({"liver": 0.01}, noise=0.2, seed=seed), RULE)
    assert not verdict.passes
    assert "liver: may be worse" in str(verdict)
    assert "holds 0" in str(verdict)


def test_the_same_values_are_no_gain():
    assert not judge(rows({"liver": 0.0}, noise=0.0), RULE).passes


def test_a_margin_admits_a_task_on_which_both_are_alike_and_no_more():
    alike = rows({"liver": 0.05, "spine": 0.0})
    assert not judge(alike, RULE).passes
    assert judge(alike, Promotion(margin=0.02)).passes
    lost = rows({"liver": 0.2, "spine": -0.03})
    assert not judge(lost, Promotion(margin=0.02)).passes
    nowhere_better = rows({"liver": 0.0, "spine": 0.0})
    verdict = judge(nowhere_better, Promotion(margin=0.05))
    assert not verdict.passes
    assert "all tasks: no" in str(verdict)


def test_every_protocol_that_judged_both_has_a_say():
    shots, probe = rows({"liver": 0.05}), rows({"vendor": -0.2}, protocol="knn", metric="accuracy")
    assert judge(shots, RULE).passes
    verdict = judge(shots + probe, RULE)
    assert not verdict.passes
    assert "knn (strict), accuracy, vendor: is worse" in str(verdict)


def test_other_scores_and_protocols_and_classes_decide_nothing():
    others = [
        *rows({"liver": -0.4}, metric="nsd_mm"),
        *rows({"liver": -0.4}, protocol="zero_shot"),
        *rows({"liver": -0.4}, label="left lobe"),
    ]
    assert judge(rows({"liver": 0.05}) + others, RULE).passes
    none = judge(rows({"liver": 0.5}, protocol="zero_shot"), RULE)
    assert not none.passes
    assert str(none) == "no protocol that decides judged both"


def test_a_task_without_a_mean_over_classes_is_judged_by_its_classes():
    classes = rows({"liver": 0.05}, label="liver") + rows({"liver": -0.2}, label="vessels")
    verdict = judge(classes, RULE)
    assert not verdict.passes
    assert "of vessels" in str(verdict)


def test_a_task_without_a_mean_over_classes_has_a_say_beside_one_that_has():
    worse = rows({"spine": -0.05}, label="disc")
    assert not judge([*rows({"liver": 0.3}), *worse], RULE).passes
    assert judge([*rows({"liver": 0.3}), *rows({"liver": -0.05}, label="vein")], RULE).passes


def test_one_patient_or_too_few_draws_prove_nothing():
    alone = judge(rows({"liver": 0.3}, patients=1), RULE)
    assert not alone.passes
    assert "cannot tell (one patient" in str(alone)
    single = rows({"liver": 0.3}, draws=1)
    assert "too few draws, the rule asks for 3" in str(judge(single, RULE))
    assert judge(single, Promotion(fewest_draws=1)).passes
    assert judge(rows({"vendor": 0.3}, draws=1, protocol="knn", metric="accuracy"), RULE).passes


def test_missing_and_repeated_measurements_are_refused_in_one_line():
    made = rows({"liver": 0.05})
    with pytest.raises(UserError, match="lacks 1 of 32 measurements") as caught:
        judge(made[:-1], RULE)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="measured twice"):
        judge([*made, replace(made[0], value=0.1)], RULE)


def test_the_order_of_rows_changes_nothing():
    made = rows({"liver": 0.05, "spine": 0.01})
    assert judge(made, RULE) == judge(made[::-1], RULE)
