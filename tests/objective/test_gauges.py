"""The gauges of health: against plain formulas, and what they say of health and of collapse."""

import math

import numpy as np
import pytest
import reference
import torch

from mricore.objective.communication import Alone
from mricore.objective.gauges import effective_rank, gauges, token_gauges


def measured(tokens, logits):
    return plain(gauges(logits, tokens, logits, None, 0.1, (len(tokens) // 2,), Alone()))


def plain(found):
    return {name: float(value) for name, value in found.items()}


def entropy(probabilities):
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def test_gauges_tell_health_from_collapse():
    sick = measured(torch.ones(16, 4), torch.zeros(16, 5))
    well = measured(torch.eye(8).repeat(2, 1), 100 * torch.eye(5)[[0, 1, 2, 3, 4, 0, 1, 2] * 2])
    assert (sick["rank"], well["rank"]) == pytest.approx((1, 8))
    assert sick["teacher_entropy"] == pytest.approx(1)
    assert well["teacher_entropy"] < 1e-3
    assert sick["nearest_distance"] < 1e-3 < 1.4 < well["nearest_distance"]
    assert sick["information"] == pytest.approx(0, abs=1e-6)
    assert well["information"] == pytest.approx(entropy([2 / 8, 2 / 8, 2 / 8, 1 / 8, 1 / 8]))
    one_prototype = torch.zeros(16, 5)
    one_prototype[:, 0] = 100
    collapsed = measured(torch.eye(8).repeat(2, 1), one_prototype)
    assert collapsed["prototype_use"] == pytest.approx(0.2, abs=1e-3)
    assert collapsed["information"] == pytest.approx(0, abs=1e-6)


@pytest.mark.numerics
def test_gauges_of_answers_equal_plain_formulas():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 16, 7))
    views = torch.from_numpy(student), torch.randn(16, 4), torch.from_numpy(teacher)
    center = rng.normal(size=7)
    found = plain(gauges(*views, torch.from_numpy(center), 0.5, (8,), Alone()))
    answers = [reference.softmax((row - center) / 0.5) for row in teacher]
    each, together = np.mean([entropy(answer) for answer in answers]), entropy(np.mean(answers, 0))
    assert found["teacher_entropy"] == pytest.approx(each / math.log(7))
    assert found["prototype_use"] == pytest.approx(math.exp(together) / 7)
    assert found["information"] == pytest.approx(together - each)
    assert found["agreement"] == pytest.approx(np.mean(student.argmax(1) == teacher.argmax(1)))


@pytest.mark.numerics
@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (1, 5)])
def test_the_effective_rank_is_that_of_the_singular_values(shape):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    shares = np.linalg.svd(features.double().numpy(), compute_uv=False)
    expected = math.exp(entropy(shares / shares.sum()))
    assert float(effective_rank(features)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.numerics
def test_the_nearest_token_is_one_of_another_slice():
    tokens = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    unit = tokens.numpy() / np.linalg.norm(tokens.numpy(), axis=1, keepdims=True)
    distances = [min(np.linalg.norm(unit[i] - unit[j]) for j in range(8) if j != i) for i in range(8)]
    both = [tokens, tokens + 1e-3]  # the other crop of a slice would be nearer
    for crops in ([tokens], both):
        found = token_gauges(crops, (8,), Alone())
        assert float(found["nearest_distance"]) == pytest.approx(np.mean(distances), rel=1e-5)


def test_a_few_slices_have_no_spectrum_and_no_mean_answer():
    """Otherwise one slice per worker would look like a collapse."""
    found = gauges(torch.zeros(6, 5), torch.ones(6, 4), torch.zeros(6, 5), None, 0.1, (3,), Alone())
    assert not {"rank", "nearest_distance", "information"} & found.keys()
    assert token_gauges([torch.ones(7, 4)], (7,), Alone()) == {}


def test_gauges_of_a_diverged_student_do_not_hide_that_it_diverged():
    assert np.isfinite(measured(torch.full((16, 4), torch.nan), torch.zeros(16, 5))["rank"])
