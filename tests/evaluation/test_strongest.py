"""Labels are the classes that score highest."""

from __future__ import annotations

import numpy as np
import torch

from mricore.evaluation.labels import strongest


def test_the_class_with_the_largest_score_is_called() -> None:
    scores = torch.randn(3, 5, 17, 33, generator=torch.Generator().manual_seed(0))
    called = strongest(scores)
    assert called.dtype == np.uint8
    np.testing.assert_array_equal(called, scores.numpy().argmax(1))


def test_of_equal_scores_the_first_class_is_called() -> None:
    # few values, so that most pixels have several classes with the largest score
    scores = torch.randint(0, 3, (2, 9, 64, 64), generator=torch.Generator().manual_seed(1)).float()
    np.testing.assert_array_equal(strongest(scores), scores.numpy().argmax(1))
