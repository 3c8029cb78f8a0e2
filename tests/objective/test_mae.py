"""The loss of MAE against the slow reference, and its corner cases."""

import numpy as np
import pytest
import reference
import torch

from mricore.objective.mae import hidden_patches, mae_share

B, SIDE, PATCH, HIDDEN = 3, 12, 4, 5


def given(seed=0):
    rng = np.random.default_rng(seed)
    hidden = np.stack([np.sort(rng.permutation((SIDE // PATCH) ** 2)[:HIDDEN]) for _ in range(B)])
    crops = rng.random((B, 1, SIDE, SIDE))
    crops[0] = 0.25  # constant patches, as the air around a body
    return rng.normal(size=(B, HIDDEN, PATCH**2)), crops, hidden


@pytest.mark.numerics
@pytest.mark.parametrize("normalize", [True, False])
def test_it_equals_the_reference(normalize):
    predictions, crops, hidden = given()
    expected = reference.mae(predictions, crops[:, 0], hidden, PATCH, normalize)
    found = mae_share(*map(torch.from_numpy, (predictions, crops, hidden)), PATCH, normalize, B)
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
def test_shares_of_workers_sum_to_the_loss_also_if_one_has_no_crop(normalize):
    parts = [torch.from_numpy(part) for part in given()]
    whole = mae_share(*parts, PATCH, normalize, B)
    shares = [mae_share(*(p[rows] for p in parts), PATCH, normalize, B) for rows in (slice(2), slice(2, 3))]
    torch.testing.assert_close(sum(shares), whole)
    nothing = mae_share(*(p[:0] for p in parts), PATCH, normalize, B)
    assert nothing == 0


def test_perfect_predictions_have_no_loss_and_the_target_has_no_gradient():
    predictions, crops, hidden = map(torch.from_numpy, given())
    crops.requires_grad_()
    assert mae_share(hidden_patches(crops, hidden, PATCH).detach(), crops, hidden, PATCH, False, B) == 0
    predictions.requires_grad_()
    mae_share(predictions, crops, hidden, PATCH, True, B).backward()
    assert crops.grad is None
    assert predictions.grad.abs().min() > 0


@pytest.mark.numerics
def test_predictions_of_half_precision_are_compared_in_float32():
    predictions, crops, hidden = map(torch.from_numpy, given())
    rounded = predictions.bfloat16()
    found = mae_share(rounded, crops.float(), hidden, PATCH, True, B)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, mae_share(rounded.float(), crops.float(), hidden, PATCH, True, B))


def test_patches_are_numbered_row_by_row():
    crop = torch.arange(36.0).reshape(1, 1, 6, 6)
    found = hidden_patches(crop, torch.tensor([[1, 2]]), 3)
    assert found[0, 0].tolist() == [3, 4, 5, 9, 10, 11, 15, 16, 17]
    assert found[0, 1, 0] == 18
