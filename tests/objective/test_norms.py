"""Distances between weights."""

import pytest
import torch

from mricore.objective.norms import drift, norms, update_norm


def test_they_are_relative_distances_over_all_tensors_together():
    before = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    after = [torch.tensor([3.0, 0.3]), torch.tensor([[4.4]])]
    expected = (0.3**2 + 0.4**2) ** 0.5 / 5
    assert float(update_norm(before, after)) == pytest.approx(expected, rel=1e-5)
    assert float(drift(before, after)) == pytest.approx(expected, rel=1e-5)
    assert update_norm(before, before) == 0


def test_parameters_may_be_given_as_they_are():
    layer = torch.nn.Linear(3, 2)
    initial = [parameter.detach().clone() for parameter in layer.parameters()]
    found = drift(initial, list(layer.parameters()))
    assert (float(found), found.requires_grad) == (0, False)


def test_each_group_has_its_own_norm():
    groups = [[torch.tensor([3.0]), torch.tensor([[4.0]])], [torch.full((4,), 2.0, dtype=torch.float32)]]
    assert norms(groups).tolist() == pytest.approx([5, 4])
